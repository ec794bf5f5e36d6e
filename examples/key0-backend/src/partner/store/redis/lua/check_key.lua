-- slot
return redis.call('HMGET', prefix .. 'key:' .. ARGV[2], 'fingerprint', 'answer', 'created_at')
