-- challenge, lease token, when it is due again or ''
local challenge, token, again = unpack(ARGV, 2, 4)
local key = prefix .. 'payment:' .. challenge
local held, arrival = unpack(redis.call('HMGET', key, 'lease_token', 'arrival'))
if held ~= token then return 0 end
if again == '' then
  redis.call('ZREM', prefix .. 'due', arrival .. challenge)
else
  redis.call('ZADD', prefix .. 'due', again, arrival .. challenge)
end
redis.call('HDEL', key, 'lease_token')
return 1
