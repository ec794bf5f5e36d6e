-- now, how many
local orders = due('orders_due', ARGV[2], ARGV[3])
for _, arrival in ipairs(orders) do
  redis.call('HSET', prefix .. 'order:' .. arrival, 'status', 'settled')
  redis.call('ZREM', prefix .. 'orders_due', arrival)
end
return #orders
