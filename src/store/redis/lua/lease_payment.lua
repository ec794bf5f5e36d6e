-- lease token, lease end, now, the latest that is waited for
local token, until_, now, latest = unpack(ARGV, 2, 5)
local due = prefix .. 'due'
local first = redis.call('ZRANGE', due, '-inf', now, 'BYSCORE', 'LIMIT', 0, 1)[1]
  or redis.call('ZRANGE', due, '(' .. latest, '+inf', 'BYSCORE', 'LIMIT', 0, 1)[1]
if not first then return false end
local challenge = string.sub(first, 17)
local key = prefix .. 'payment:' .. challenge
local payment = redis.call('HGETALL', key)
redis.call('ZADD', due, until_, first)
-- One that has lost its record is put off too: it must not hold up all behind it.
if #payment > 0 then
  redis.call('HSET', key, 'lease_token', token)
  -- What is no number is told as it was.
  redis.pcall('HINCRBY', key, 'attempts', 1)
end
return payment
