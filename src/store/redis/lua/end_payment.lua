-- challenge, lease token, when it was handled or '', when it is due again or '', error or ''
local challenge, token, handled_at, again, failure = unpack(ARGV, 2, 6)
local key = prefix .. 'payment:' .. challenge
local held, arrival = unpack(redis.call('HMGET', key, 'lease_token', 'arrival'))
if held ~= token then return 0 end
if again == '' then
  redis.call('ZREM', prefix .. 'due', arrival .. challenge)
  redis.call('HSET', key, 'handled_at', handled_at)
  redis.call('HDEL', key, 'last_error')
else
  redis.call('ZADD', prefix .. 'due', again, arrival .. challenge)
  if failure ~= '' then redis.call('HSET', key, 'last_error', failure) end
end
redis.call('HDEL', key, 'lease_token')
return 1
