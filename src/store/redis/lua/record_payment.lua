-- challenge, hash, the same as older versions may have kept it or '', received at, the same as it stands
-- in cursors, request, then fields and values
local challenge, tx_hash, older, received_at, at, request = unpack(ARGV, 2, 7)
local key, paid = prefix .. 'payment:' .. challenge, prefix .. 'paid:' .. tx_hash
local slot = 'challenge:' .. challenge
local revoked = redis.call('HGET', prefix .. 'issuance:' .. slot, 'revoked_at') and ' revoked' or ''
local payer = redis.call('GET', paid) or redis.call('GET', prefix .. 'paid:' .. older)
if payer == challenge then return 'repeated' .. revoked end
if payer or redis.call('EXISTS', key) == 1 then return 'conflict' end
local arrival = string.format('%016.0f', redis.call('INCR', prefix .. 'arrivals'))
redis.call('HSET', key, 'arrival', arrival, 'attempts', 0, unpack(ARGV, 8))
redis.call('SET', paid, challenge)
redis.call('ZADD', prefix .. 'due', received_at, arrival .. challenge)
if not is_settled(slot) then see(at, slot) end
find_by('q', request, slot)
return 'recorded' .. revoked
