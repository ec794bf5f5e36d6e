-- challenge, now, event
local challenge, now, event = ARGV[2], ARGV[3], ARGV[4]
local key = prefix .. 'payment:' .. challenge
local arrival, held = unpack(redis.call('HMGET', key, 'arrival', 'lease_token'))
if not arrival or not redis.call('ZSCORE', prefix .. 'due', arrival .. challenge) then return 0 end
if not held then redis.call('ZADD', prefix .. 'due', now, arrival .. challenge) end
note_purchase(challenge, event)
return 1
