-- before, how many
local over = redis.call('ZRANGE', prefix .. 'events_ending', '-inf', '(' .. ARGV[2], 'BYSCORE',
  'LIMIT', 0, ARGV[3])
for _, subject in ipairs(over) do
  -- A key, or an event of something else.
  local id = string.match(subject, '^k(.*)$')
  if id then
    local history = prefix .. 'history:' .. id
    for _, line in ipairs(redis.call('LRANGE', history, 0, -1)) do
      redis.call('ZREM', prefix .. 'events', event_of(id, line))
    end
    redis.call('DEL', history, prefix .. 'shown:' .. id)
  else
    redis.call('ZREM', prefix .. 'events', subject)
  end
  redis.call('ZREM', prefix .. 'events_ending', subject)
end
return #over
