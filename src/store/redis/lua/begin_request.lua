-- slot, fingerprint, lease token, lease end, now, the latest end of a lease
local slot, fingerprint, token, until_, now, latest = unpack(ARGV, 2, 7)
local key = prefix .. 'request:' .. slot
local kept, free_at, held = unpack(redis.call('HMGET', key, 'fingerprint', 'free_at',
  'lease_token'))
local is_free = not kept or tonumber(free_at) <= tonumber(now)
  or (held and is_over(free_at, now, latest))
if not is_free then
  if kept ~= fingerprint then return {'reused'} end
  if not held then return {'done', redis.call('HGETALL', key)} end
  -- Else it is this lease's own, and renewed.
  if held ~= token then return {'in progress', free_at} end
end
if kept then redis.call('DEL', key) end
redis.call('HSET', key, 'fingerprint', fingerprint, 'free_at', until_, 'lease_token', token)
redis.call('ZADD', prefix .. 'requests', until_, slot)
return {'started'}
