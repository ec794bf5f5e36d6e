-- challenge, now
local challenge, now = ARGV[2], ARGV[3]
local key = prefix .. 'payment:' .. challenge
local arrival, held = unpack(redis.call('HMGET', key, 'arrival', 'lease_token'))
if not arrival or not redis.call('ZSCORE', prefix .. 'due', arrival .. challenge) then return 0 end
if not held then redis.call('ZADD', prefix .. 'due', now, arrival .. challenge) end
return 1
