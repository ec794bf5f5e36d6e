-- slots: of each its issuance, its payment, whether that waits, and its key
local function fields(name) return redis.call('HGETALL', prefix .. name) end
local purchases = {}
for i = 2, #ARGV do
  local slot = ARGV[i]
  local challenge = string.match(slot, '^challenge:(.*)$')
  local payment, waits, key = {}, 0, {}
  if challenge then
    payment = fields('payment:' .. challenge)
    local arrival = redis.call('HGET', prefix .. 'payment:' .. challenge, 'arrival')
    waits = arrival and redis.call('ZSCORE', prefix .. 'due', arrival .. challenge) and 1 or 0
  end
  local key_id = redis.call('HGET', prefix .. 'issuance:' .. slot, 'key_id')
  if key_id then key = fields('key:' .. key_id) end
  purchases[#purchases + 1] = {fields('issuance:' .. slot), payment, waits, key}
end
return purchases
