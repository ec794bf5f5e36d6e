-- At most 10,000 are looked through, and counted.
local due = redis.call('ZRANGE', prefix .. 'due', 0, 9999)
local oldest
for _, entry in ipairs(due) do
  if not oldest or entry < oldest then oldest = entry end
end
local received_at = oldest
  and redis.call('HGET', prefix .. 'payment:' .. string.sub(oldest, 17), 'received_at')
return {#due, received_at or false}
