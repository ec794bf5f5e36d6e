-- the set of what has arrived, what names their hashes, before which arrival, how many, fields
local set, named, before, limit = unpack(ARGV, 2, 5)
local arrivals = redis.call('ZRANGE', prefix .. set, '(' .. before, '-inf', 'BYSCORE', 'REV',
  'LIMIT', 0, limit)
local lines = {}
for number, arrival in ipairs(arrivals) do
  local fields = redis.call('HMGET', prefix .. named .. arrival, unpack(ARGV, 6))
  lines[number] = {arrival, unpack(fields)}
end
return lines
