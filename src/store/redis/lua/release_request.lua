-- slot, lease token
local slot = ARGV[2]
local key = prefix .. 'request:' .. slot
if redis.call('HGET', key, 'lease_token') ~= ARGV[3] then return 0 end
redis.call('DEL', key)
return redis.call('ZREM', prefix .. 'requests', slot)
