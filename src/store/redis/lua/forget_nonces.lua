-- before, how many
local slots = redis.call('ZRANGE', prefix .. 'nonces', '-inf', '(' .. ARGV[2], 'BYSCORE',
  'LIMIT', 0, ARGV[3])
for _, slot in ipairs(slots) do
  redis.call('HDEL', prefix .. 'issuance:' .. slot, 'nonce')
  redis.call('ZREM', prefix .. 'nonces', slot)
end
return #slots
