-- slot, fingerprint, lease token, lease end, now, the latest end of a lease, when
-- answers are over
local slot, fingerprint, token, until_, now, latest, answers_at = unpack(ARGV, 2, 8)
local key = prefix .. 'request:' .. slot
local kept, free_at, held = unpack(redis.call('HMGET', key, 'fingerprint', 'free_at',
  'lease_token'))
local is_free = not kept
if held then is_free = is_over(free_at, now, latest)
elseif kept then is_free = tonumber(free_at) <= tonumber(answers_at) end
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
