-- slot, fingerprint, lease token, lease end, now
local slot, fingerprint, token, until_, now = unpack(ARGV, 2, 6)
local key = prefix .. 'request:' .. slot
local kept, free_at, held = unpack(redis.call('HMGET', key, 'fingerprint', 'free_at',
  'lease_token'))
if kept and tonumber(free_at) > tonumber(now) then
  if kept ~= fingerprint then return {'reused'} end
  if held then return {'in progress', free_at} end
  return {'done', redis.call('HGETALL', key)}
end
if kept then redis.call('DEL', key) end
redis.call('HSET', key, 'fingerprint', fingerprint, 'free_at', until_, 'lease_token', token)
redis.call('ZADD', prefix .. 'requests', until_, slot)
return {'started'}
