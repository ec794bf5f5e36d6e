-- id
return redis.call('HMGET', prefix .. 'passport:' .. ARGV[2], 'content', 'certification',
  'created_at', 'updated_at')
