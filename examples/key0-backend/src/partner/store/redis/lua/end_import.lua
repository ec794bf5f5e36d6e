-- arrival, outcome
local import = prefix .. 'import:' .. ARGV[2]
local due_at, owner, bytes = unpack(redis.call('HMGET', import, 'due_at', 'owner', 'bytes'))
if not due_at then return 0 end
redis.call('HSET', import, 'outcome', ARGV[3])
redis.call('HDEL', import, 'rows', 'due_at', 'became')
redis.call('ZREM', prefix .. 'imports_due', ARGV[2])
local owed = prefix .. 'owed:' .. owner
redis.call('HINCRBY', owed, 'bytes', '-' .. bytes)
if redis.call('HINCRBY', owed, 'waiting', -1) == 0 then redis.call('DEL', owed) end
return 1
