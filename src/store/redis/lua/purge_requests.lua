-- now, how many
local slots = redis.call('ZRANGE', prefix .. 'requests', '-inf', ARGV[2], 'BYSCORE',
  'LIMIT', 0, ARGV[3])
for _, slot in ipairs(slots) do
  redis.call('DEL', prefix .. 'request:' .. slot)
  redis.call('ZREM', prefix .. 'requests', slot)
end
return #slots
