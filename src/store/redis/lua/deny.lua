-- digest, until
local digest, until_ = ARGV[2], ARGV[3]
local ends = prefix .. 'denial_ends'
tell('\001' .. digest)
local known = redis.call('HGET', ends, digest)
if known and tonumber(known) >= tonumber(until_) then return end
redis.call('HSET', ends, digest, until_)
redis.call('ZADD', prefix .. 'denied', 0, digest)
redis.call('ZADD', prefix .. 'denied_until', until_, digest)
