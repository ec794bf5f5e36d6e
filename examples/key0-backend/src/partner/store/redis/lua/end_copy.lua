redis.call('DEL', prefix .. 'unfinished_copy')
return 1
