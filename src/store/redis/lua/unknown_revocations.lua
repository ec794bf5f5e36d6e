return redis.call('HGETALL', prefix .. 'unknown_revocations')
