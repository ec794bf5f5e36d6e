-- Counts what can be counted, which a user may not be allowed to, and says what the state is.
if redis.call('EXISTS', prefix .. 'unlisted') == 1 then return {'unlisted', -1, ''} end
local is_empty, count = true, 0
for _, set in ipairs({'keys:integrator', 'keys:payment', 'purchases', 'denied', 'events'}) do
  local size = redis.pcall('ZCARD', prefix .. set)
  count = type(size) == 'number' and count >= 0 and count + size or -1
  if redis.call('EXISTS', prefix .. set) == 1 then is_empty = false end
end
for _, name in ipairs({'unknown_revocations', 'requests'}) do
  if redis.call('EXISTS', prefix .. name) == 1 then is_empty = false end
end
local last = redis.call('ZRANGE', prefix .. 'purchases', '+', '-', 'BYLEX', 'REV', 'LIMIT', 0, 1)[1]
local state = {last or ''}
for place, name in ipairs({'revision', 'events_noted', 'arrivals'}) do
  state[place + 1] = redis.call('GET', prefix .. name) or '0'
end
return {is_empty and 'empty' or 'full', count, table.concat(state, ' ')}
