-- id, now, event
local id, now, event = ARGV[2], ARGV[3], ARGV[4]
local key = prefix .. 'key:' .. id
local digest, revoked_at = unpack(redis.call('HMGET', key, 'digest', 'revoked_at'))
if not digest or revoked_at then return false end
tell(digest)
redis.call('HSET', key, 'revoked_at', now)
redis.call('ZADD', prefix .. 'ending', now, id)
redis.call('RPUSH', prefix .. 'history:' .. id, event)
return digest
