-- slot, lease token, nonce or '', issued at, how many of the following, fields and values of the
-- issuance, then what add_key takes or nothing
local slot, token, nonce, issued_at, fields = unpack(ARGV, 2, 6)
local key, record = prefix .. 'issuance:' .. slot, 7 + fields
if redis.call('HGET', key, 'lease_token') ~= token then return 0 end
if ARGV[record] then
  if taken(record) then return conflict() end
  add_key(record)
end
redis.call('HSET', key, unpack(ARGV, 7, record - 1))
redis.call('HDEL', key, 'lease_token', 'lease_until')
if nonce ~= '' then redis.call('ZADD', prefix .. 'nonces', issued_at, slot) end
return 1
