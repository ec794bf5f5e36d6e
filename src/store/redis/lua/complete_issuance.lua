-- slot, lease token, nonce or '', issued at, the same as it stands in cursors, how many of the following, fields and values of the
-- issuance, then what add_key takes or nothing
local slot, token, nonce, issued_at, at, fields = unpack(ARGV, 2, 7)
local key, record = prefix .. 'issuance:' .. slot, 8 + fields
local held, request = unpack(redis.call('HMGET', key, 'lease_token', 'request_id'))
if held ~= token then return 0 end
if ARGV[record] then
  if taken(record) then return conflict() end
  add_key(record)
end
redis.call('HSET', key, unpack(ARGV, 8, record - 1))
redis.call('HDEL', key, 'lease_token', 'lease_until')
if not is_paid(slot) then see(at, slot) end
find_by('q', request, slot)
find_by('k', redis.call('HGET', key, 'key_id'), slot)
if nonce ~= '' then redis.call('ZADD', prefix .. 'nonces', issued_at, slot) end
return 1
