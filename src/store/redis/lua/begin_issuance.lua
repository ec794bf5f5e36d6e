-- slot, fingerprint, hash, lease token, lease end, now, the latest that is waited for, the hash as
-- older versions may have kept it, or '', request, resource, plan
local slot, fingerprint, tx_hash, token, until_, now, latest, older, request, resource,
  plan = unpack(ARGV, 2, 12)
local own, spent = prefix .. 'issuance:' .. slot, prefix .. 'spent:' .. tx_hash

local function look(key)
  local found, hash, lease = unpack(redis.call('HMGET', key, 'fingerprint', 'tx_hash',
    'lease_until'))
  return found and {
    key = key, hash = hash, fingerprint = found, issued = not lease,
    lapsed = lease and is_over(lease, now, latest),
  }
end
if redis.call('HGET', own, 'revoked_at') then return {'revoked'} end
local kept, holder = look(own), redis.call('GET', spent)
  or redis.call('GET', prefix .. 'spent:' .. older)
local other = holder and (holder == slot and kept or look(prefix .. 'issuance:' .. holder))
if holder and not other then
  return redis.error_reply('KEY0BROKEN a spent hash has lost its issuance')
end

local function without_lapsed(found)
  if not (found and found.lapsed) then return found end
  redis.call('DEL', found.key, prefix .. 'spent:' .. found.hash)
end
kept, other = without_lapsed(kept), without_lapsed(other)
if kept then
  if not kept.issued then return {'in progress'} end
  if kept.fingerprint ~= fingerprint then return {'conflict'} end
  return {'issued', redis.call('HGETALL', own)}
end
-- Paid for another challenge: what names none may have it until that one is issued or revoked.
local paid = redis.call('GET', prefix .. 'paid:' .. tx_hash)
  or redis.call('GET', prefix .. 'paid:' .. older)
local paid_for = paid and 'challenge:' .. paid or slot
if paid_for ~= slot and (string.find(slot, '^challenge:') or is_settled(paid_for)) then
  return {'redeemed'}
end
if other then return {other.issued and 'redeemed' or 'in progress'} end
redis.call('HSET', own, 'fingerprint', fingerprint, 'tx_hash', tx_hash, 'lease_token', token,
  'lease_until', until_, 'request_id', request, 'resource_id', resource, 'plan_id', plan)
redis.call('SET', spent, slot)
return {'started'}
