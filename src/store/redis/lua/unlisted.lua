return redis.call('EXISTS', prefix .. 'unlisted')
