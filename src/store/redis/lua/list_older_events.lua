-- ids of keys whose histories an older version has kept: each line gets a position, by which it is listed
for i = 2, #ARGV do
  local id = ARGV[i]
  local history = prefix .. 'history:' .. id
  local lines = redis.call('LRANGE', history, 0, -1)
  for _, line in ipairs(lines) do
    if position_of(line) == 0 then
      local at = math.max(tonumber(string.match(line, '^%S+ (%S+)')) or 0, 0)
      local number = redis.call('INCR', prefix .. 'events_noted')
      line = string.format('0%015x%016x', at, number) .. line
      redis.call('ZADD', prefix .. 'events', 0, event_of(id, line))
    end
    redis.call('RPUSH', history, line)
  end
  redis.call('LTRIM', history, #lines, -1)
end
