-- until, how many
local over = redis.call('ZRANGE', prefix .. 'denied_until', '-inf', '(' .. ARGV[2], 'BYSCORE',
  'LIMIT', 0, ARGV[3])
for _, digest in ipairs(over) do
  redis.call('HDEL', prefix .. 'denial_ends', digest)
  redis.call('ZREM', prefix .. 'denied', digest)
  redis.call('ZREM', prefix .. 'denied_until', digest)
end
return #over
