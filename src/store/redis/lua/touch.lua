-- id, instant; id, instant; …
for i = 2, #ARGV, 2 do
  local key, at = prefix .. 'key:' .. ARGV[i], ARGV[i + 1]
  local digest, first, last = unpack(redis.call('HMGET', key, 'digest', 'first_used_at',
    'last_used_at'))
  if digest then
    local is_first = not last or (first and tonumber(at) < tonumber(first))
    if is_first then redis.call('HSET', key, 'first_used_at', at) end
    if not last or tonumber(last) < tonumber(at) then redis.call('HSET', key, 'last_used_at', at) end
  end
end
