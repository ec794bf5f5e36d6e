-- namespace, id
local namespace, id = ARGV[2], ARGV[3]
local slot = prefix .. 'issuance:' .. namespace .. ':' .. id
local payment, waits, key = {}, 0, {}
if namespace == 'challenge' then
  payment = redis.call('HGETALL', prefix .. 'payment:' .. id)
  local arrival = redis.call('HGET', prefix .. 'payment:' .. id, 'arrival')
  waits = arrival and redis.call('ZSCORE', prefix .. 'due', arrival .. id) and 1 or 0
end
local key_id = redis.call('HGET', slot, 'key_id')
if key_id then key = redis.call('HGETALL', prefix .. 'key:' .. key_id) end
return {redis.call('HGETALL', slot), payment, waits, key}
