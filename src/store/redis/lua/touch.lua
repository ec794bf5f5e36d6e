-- id, instant; id, instant; …
local later = {}
for i = 2, #ARGV, 2 do
  local key = prefix .. 'key:' .. ARGV[i]
  local digest, used_at = unpack(redis.call('HMGET', key, 'digest', 'last_used_at'))
  if digest and (not used_at or tonumber(used_at) < tonumber(ARGV[i + 1])) then
    later[#later + 1] = {key, ARGV[i + 1]}
  end
end
for _, use in ipairs(later) do redis.call('HSET', use[1], 'last_used_at', use[2]) end
return #later
