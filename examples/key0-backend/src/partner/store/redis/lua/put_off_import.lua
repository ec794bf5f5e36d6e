-- arrival, until
local import = prefix .. 'import:' .. ARGV[2]
if redis.call('HGET', import, 'due_at') then
  redis.call('HSET', import, 'due_at', ARGV[3])
  redis.call('ZADD', prefix .. 'imports_due', ARGV[3], ARGV[2])
end
return 1
