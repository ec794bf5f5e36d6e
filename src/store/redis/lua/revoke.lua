-- id, now, event, reason or nothing
local id, now, event, reason = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local key = prefix .. 'key:' .. id
local digest, revoked_at, old = unpack(redis.call('HMGET', key, 'digest', 'revoked_at',
  'old_digest'))
if not digest or revoked_at then return {} end
tell(digest)
if old then tell(old) end
redis.call('HSET', key, 'revoked_at', now)
if reason then redis.call('HSET', key, 'revoked_reason', reason) end
redis.call('ZADD', prefix .. 'ending', now, id)
redis.call('RPUSH', prefix .. 'history:' .. id, event)
return old and {digest, old} or {digest}
