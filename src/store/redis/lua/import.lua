-- how many records there were, where the next page begins, how many there are now; then of each record
-- its table, how many of the following, fields and values. Nobody has asked for any of it before, so
-- nobody is told.
local had, position, copied = unpack(ARGV, 2, 4)
local marker = prefix .. 'unfinished_copy'
if redis.call('HGET', marker, 'copied') ~= had then return conflict() end

-- As cursors have it, whose first digit is 8 from 1970 on.
local function cursor(micros) return string.format('8%015x', math.max(micros, 0)) end

-- As `TxHash::normalized`.
local function normalized(hash)
  hash = string.lower(hash)
  if #hash == 64 and string.match(hash, '^%x+$') then hash = '0x' .. hash end
  return hash
end

-- A purchase stands where it was first seen, by its issuance or by its payment.
local function see_first(slot, at, other)
  at, other = tonumber(at), tonumber(other)
  if other and other <= at then return end
  if other then redis.call('ZREM', prefix .. 'purchases', cursor(other) .. slot) end
  see(cursor(at), slot)
end

local each = {}

function each.keys(of, first, last)
  local id, key = of.id, prefix .. 'key:' .. of.id
  redis.call('HSET', key, unpack(ARGV, first, last))
  redis.call('SET', prefix .. 'digest:' .. of.digest, id)
  if of.old_digest then redis.call('SET', prefix .. 'digest:' .. of.old_digest, id) end
  redis.call('ZADD', prefix .. 'keys:' .. of.kind, 0, of.place)
  local ends_at = of.revoked_at or of.expires_at
  if ends_at then redis.call('ZADD', prefix .. 'ending', ends_at, id) end
end

function each.issuances(of, first, last)
  local slot = of.namespace .. ':' .. of.id
  local key, challenge = prefix .. 'issuance:' .. slot, of.namespace == 'challenge' and of.id
  redis.call('HSET', key, unpack(ARGV, first, last))
  redis.call('HDEL', key, 'namespace', 'id')
  if of.tx_hash then redis.call('SET', prefix .. 'spent:' .. normalized(of.tx_hash), slot) end
  if of.nonce then redis.call('ZADD', prefix .. 'nonces', of.issued_at, slot) end
  see_first(slot, of.issued_at or of.revoked_at,
    challenge and redis.call('HGET', prefix .. 'payment:' .. challenge, 'received_at'))
  find_by('q', of.request_id, slot)
  find_by('k', of.key_id, slot)
end

function each.payments(of, first, last)
  local challenge, slot = of.challenge_id, 'challenge:' .. of.challenge_id
  local key, arrival = prefix .. 'payment:' .. challenge, string.format('%016.0f', of.arrival)
  redis.call('HSET', key, unpack(ARGV, first, last))
  redis.call('HSET', key, 'arrival', arrival)
  redis.call('HDEL', key, 'due_at')
  redis.call('SET', prefix .. 'paid:' .. normalized(of.tx_hash), challenge)
  if of.due_at then redis.call('ZADD', prefix .. 'due', of.due_at, arrival .. challenge) end
  if tonumber(of.arrival) > tonumber(redis.call('GET', prefix .. 'arrivals') or 0) then
    redis.call('SET', prefix .. 'arrivals', of.arrival)
  end
  see_first(slot, of.received_at, is_settled(slot))
  find_by('q', of.request_id, slot)
end

function each.denied_tokens(of)
  redis.call('ZADD', prefix .. 'denied', 0, of.digest)
  redis.call('ZADD', prefix .. 'denied_until', of['until'], of.digest)
  redis.call('HSET', prefix .. 'denial_ends', of.digest, of['until'])
end

function each.key_events(of)
  local line = of.action .. ' ' .. of.at .. ' ' .. of.actor
  if of.reason then line = line .. ' ' .. of.reason end
  if of.kind then
    return note_ending((of.kind == 'administration' and 'r' or 'p') .. of.key_id, line)
  end
  note_key(of.key_id, line)
  if of.over_at then
    redis.call('HSET', prefix .. 'shown:' .. of.key_id, 'display', of.display or '', 'label',
      of.label or '')
    redis.call('ZADD', prefix .. 'events_ending', of.over_at, 'k' .. of.key_id)
  end
end

function each.unknown_revocations(of)
  redis.call('HSET', prefix .. 'unknown_revocations', of.day, of.count)
end

local place = 5
while ARGV[place] do
  local first, last, of = place + 2, place + 1 + tonumber(ARGV[place + 1]), {}
  for name = first, last, 2 do of[ARGV[name]] = ARGV[name + 1] end
  each[ARGV[place]](of, first, last)
  place = last + 1
end
redis.call('HSET', marker, 'position', position, 'copied', copied)
return 1
