-- challenge, hash in lower case, received at, then fields and values
local challenge, tx_hash, received_at = unpack(ARGV, 2, 4)
local key, paid = prefix .. 'payment:' .. challenge, prefix .. 'paid:' .. tx_hash
local payer = redis.call('GET', paid)
if payer == challenge then return 'repeated' end
if payer or redis.call('EXISTS', key) == 1 then return 'conflict' end
local arrival = string.format('%016.0f', redis.call('INCR', prefix .. 'arrivals'))
redis.call('HSET', key, 'arrival', arrival, 'attempts', 0, unpack(ARGV, 5))
redis.call('SET', paid, challenge)
redis.call('ZADD', prefix .. 'due', received_at, arrival .. challenge)
return 'recorded'
