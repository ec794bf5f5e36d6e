-- challenge, reason, event
local challenge, reason, event = ARGV[2], ARGV[3], ARGV[4]
local key = prefix .. 'payment:' .. challenge
local arrival = redis.call('HGET', key, 'arrival')
if not arrival or redis.call('ZREM', prefix .. 'due', arrival .. challenge) == 0 then return 0 end
redis.call('HSET', key, 'given_up', reason)
redis.call('HDEL', key, 'lease_token')
note_purchase(challenge, event)
return 1
