-- account, behind which arrival, how many: of each its arrival, fields, and when it is due
local arrivals = redis.call('ZRANGE', prefix .. 'orders:' .. ARGV[2], '(' .. ARGV[3], '+inf', 'BYSCORE',
  'LIMIT', 0, ARGV[4])
local found = {}
for place, arrival in ipairs(arrivals) do
  found[place] = {arrival, redis.call('HGETALL', prefix .. 'order:' .. arrival),
    redis.call('ZSCORE', prefix .. 'orders_due', arrival) or ''}
end
return found
