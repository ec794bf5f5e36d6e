-- where to begin, how many, since when or ''
local name = prefix .. 'events'
if redis.call('EXISTS', prefix .. 'unlisted') == 1 then return {-1, '', {}} end
local events = redis.call('ZRANGE', name, ARGV[2], '+', 'BYLEX', 'LIMIT', 0, ARGV[3])
local since, found = tonumber(ARGV[4]), {}
for _, event in ipairs(events) do
  local kind, id, at, by = string.match(event, '^%x+([kpr])(%S+) %S+ (%S+) (%S+)')
  if not tonumber(at) then
    found[#found + 1] = {event, '', '', ''}
  elseif not since or tonumber(at) >= since then
    local shown = {false, false}
    if kind == 'k' then
      shown = redis.call('HMGET', prefix .. 'key:' .. id, 'display', 'label')
      if not shown[1] then shown = redis.call('HMGET', prefix .. 'shown:' .. id, 'display', 'label') end
    end
    found[#found + 1] = {event, shown[1] or '', shown[2] or '',
      redis.call('HGET', prefix .. 'key:' .. by, 'label') or ''}
  end
end
return {#events, events[#events] or '', found}
