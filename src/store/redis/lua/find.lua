-- digest
local id = redis.call('GET', prefix .. 'digest:' .. ARGV[2])
return id and redis.call('HGETALL', prefix .. 'key:' .. id)
