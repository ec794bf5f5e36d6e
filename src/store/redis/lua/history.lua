-- id, how many
return redis.call('LRANGE', prefix .. 'history:' .. ARGV[2], '-' .. ARGV[3], -1)
