-- Reads what must be readable before anybody asks for it.
redis.call('ZRANGE', prefix .. 'denied', '-', '+', 'BYLEX', 'LIMIT', 0, 1)
redis.call('HGET', prefix .. 'denial_ends', '')
return 1
