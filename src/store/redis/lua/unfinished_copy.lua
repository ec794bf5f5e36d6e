return redis.call('HMGET', prefix .. 'unfinished_copy', 'source', 'state', 'position', 'copied')
