-- id, owner, how many bytes, rows, the most imports of an owner that may wait, and their bytes
local id, owner, bytes, rows, most, most_bytes = unpack(ARGV, 6, 11)
local owed = prefix .. 'owed:' .. owner
local waiting, held = unpack(redis.call('HMGET', owed, 'waiting', 'bytes'))
if tonumber(waiting or 0) >= tonumber(most)
  or tonumber(held or 0) + tonumber(bytes) > tonumber(most_bytes) then
  return refuse('many')
end
local arrival = arrive()
redis.call('HSET', prefix .. 'import:' .. arrival, 'id', id, 'owner', owner, 'bytes', bytes, 'rows',
  rows, 'due_at', now)
redis.call('SET', prefix .. 'import_id:' .. id, arrival)
redis.call('HINCRBY', owed, 'waiting', 1)
redis.call('HINCRBY', owed, 'bytes', bytes)
redis.call('ZADD', prefix .. 'imports_due', now, arrival)
return done(id)
