-- digest, until
local digest, until_ = ARGV[2], ARGV[3]
local ends = prefix .. 'denial_ends'
local known = redis.call('HGET', ends, digest)
if known and tonumber(known) and tonumber(known) > tonumber(until_) then until_ = known end
tell('\001' .. digest)
-- Listed before all else: also what is denied half is denied.
redis.call('ZADD', prefix .. 'denied', 0, digest)
redis.call('ZADD', prefix .. 'denied_until', until_, digest)
redis.call('HSET', ends, digest, until_)
