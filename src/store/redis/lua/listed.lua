redis.call('DEL', prefix .. 'unlisted')
