-- slot, lease token
local key = prefix .. 'issuance:' .. ARGV[2]
local token, tx_hash = unpack(redis.call('HMGET', key, 'lease_token', 'tx_hash'))
if token ~= ARGV[3] then return 0 end
return redis.call('DEL', key, prefix .. 'spent:' .. tx_hash)
