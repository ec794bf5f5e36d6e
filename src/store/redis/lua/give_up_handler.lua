-- challenge, reason
local challenge, reason = ARGV[2], ARGV[3]
local key = prefix .. 'payment:' .. challenge
local arrival = redis.call('HGET', key, 'arrival')
if not arrival or redis.call('ZREM', prefix .. 'due', arrival .. challenge) == 0 then return 0 end
redis.call('HSET', key, 'given_up', reason)
redis.call('HDEL', key, 'lease_token')
return 1
