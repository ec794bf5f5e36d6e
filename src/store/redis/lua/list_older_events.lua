-- ids of keys whose histories an older version has kept
for i = 2, #ARGV do
  local id = ARGV[i]
  for _, line in ipairs(redis.call('LRANGE', prefix .. 'history:' .. id, 0, -1)) do
    if not string.find(line, '^%d') then
      redis.call('ZADD', prefix .. 'events', 0, event_of(id, line))
    end
  end
end
