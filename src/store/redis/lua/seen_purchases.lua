-- where to begin, how many
return redis.call('ZRANGE', prefix .. 'purchases', ARGV[2], '-', 'BYLEX', 'REV', 'LIMIT', 0, ARGV[3])
