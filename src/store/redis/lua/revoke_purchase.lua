-- id, now, the same as it stands in cursors, event, digest of its tokens, until when they are denied,
-- day, how many of which nothing is known may be revoked on one, reason or nothing
local id, now, at, event, tokens, until_, day, most, reason = unpack(ARGV, 2, 10)
local challenge, request = 'challenge:' .. id, 'request:' .. id
local function is_there(name) return redis.call('EXISTS', prefix .. name) == 1 end

local is_known = is_there('issuance:' .. challenge) or is_there('payment:' .. id)
local is_request = is_there('issuance:' .. request)
-- Whoever buys chooses the id of a request: it must not spare the challenge of that id.
local slots = {challenge}
if is_request or not is_known then slots[2] = request end
if not is_known and not is_request then
  local counts = prefix .. 'unknown_revocations'
  if tonumber(redis.call('HGET', counts, day) or 0) >= tonumber(most) then return {'too many'} end
  redis.call('HINCRBY', counts, day, 1)
end

-- What the payment has bought, or is claimed for, under another id.
local hash, spent, holder = redis.call('HGET', prefix .. 'payment:' .. id, 'tx_hash')
if hash then
  -- As `TxHash::normalized`, and as older versions may have kept it.
  hash = string.lower(hash)
  if #hash == 64 and string.match(hash, '^%x+$') then hash = '0x' .. hash end
  spent = prefix .. 'spent:' .. hash
  holder = redis.call('GET', spent)
  if not holder and #hash == 66 and string.match(hash, '^0x%x+$') then
    holder = redis.call('GET', prefix .. 'spent:' .. string.sub(hash, 3))
  end
end
local own = #slots
if holder and holder ~= challenge and holder ~= slots[2] then slots[#slots + 1] = holder end

local digests, is_first = {}, false
for place, slot in ipairs(slots) do
  local key = prefix .. 'issuance:' .. slot
  local key_id, revoked_at = unpack(redis.call('HMGET', key, 'key_id', 'revoked_at'))
  if not is_settled(slot) and not is_paid(slot) then see(at, slot) end
  -- Before the key dies: whatever comes of the rest, nothing more is issued.
  if not revoked_at then
    if place <= own then is_first = true end
    redis.call('HSET', key, 'revoked_at', now)
    if reason then redis.call('HSET', key, 'revoked_reason', reason) end
  end
  redis.call('HDEL', key, 'lease_token', 'lease_until', 'nonce')
  redis.call('ZREM', prefix .. 'nonces', slot)
  if key_id then
    revoke_key(key_id, now, event, reason)
    local digest, old = unpack(redis.call('HMGET', prefix .. 'key:' .. key_id, 'digest',
      'old_digest'))
    if digest then digests[#digests + 1] = digest end
    if old then digests[#digests + 1] = old end
  end
end
if is_first then note_purchase(id, event) end
if hash and not holder then
  local key = prefix .. 'issuance:' .. challenge
  if not redis.call('HGET', key, 'tx_hash') then
    redis.call('HSET', key, 'tx_hash', hash, 'fingerprint', '')
  end
  redis.call('SET', spent, challenge)
end
deny(tokens, until_)
return {is_request and not is_known and 'request' or 'challenge', {digests, slots}}
