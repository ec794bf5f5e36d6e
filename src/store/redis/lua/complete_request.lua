-- slot, lease token, kept until, status, headers, body
local slot, token, until_, status, headers, body = unpack(ARGV, 2, 7)
local key = prefix .. 'request:' .. slot
if redis.call('HGET', key, 'lease_token') ~= token then return 0 end
redis.call('HSET', key, 'free_at', until_, 'status', status, 'headers', headers, 'body', body)
redis.call('HDEL', key, 'lease_token')
redis.call('ZADD', prefix .. 'requests', until_, slot)
return 1
