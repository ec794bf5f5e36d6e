-- arrival, now
local id, rows, due_at = unpack(redis.call('HMGET', prefix .. 'import:' .. ARGV[2], 'id', 'rows',
  'due_at'))
if not due_at or tonumber(due_at) > tonumber(ARGV[3]) then return false end
return {id, rows}
