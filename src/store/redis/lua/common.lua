-- Stands before every other script. KEYS[1] names the version, ARGV[1] is what it must be.
local prefix = string.sub(KEYS[1], 1, -#'version' - 1)
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('KEY0LOST this is not the database that was opened')
end

-- Scripts are not rolled back: each looks first and writes last, the notification before all else.
local function tell(digest)
  local revision = redis.call('INCR', prefix .. 'revision')
  local change = string.format('%.0f', revision) .. ':' .. digest
  redis.call('RPUSH', prefix .. 'changes', change)
  redis.call('LTRIM', prefix .. 'changes', -4096, -1)
  -- May fail: what can't be published is found by whoever polls.
  redis.pcall('PUBLISH', prefix .. 'changes:' .. ARGV[1], change)
end

-- By the arguments that `add_key` takes.
local function taken(first)
  local id, digest, old = ARGV[first], ARGV[first + 1], ARGV[first + 3]
  return redis.call('EXISTS', prefix .. 'key:' .. id) == 1
    or redis.call('EXISTS', prefix .. 'digest:' .. digest) == 1
    or (old ~= '' and redis.call('EXISTS', prefix .. 'digest:' .. old) == 1)
end

local function conflict()
  return redis.error_reply('KEY0TAKEN this id or digest is there already')
end

-- Whether what was put off until then can be taken up: see `store::LONGEST_WAIT`.
local function is_over(instant, now, latest)
  instant = tonumber(instant)
  return instant <= tonumber(now) or instant > tonumber(latest)
end

-- Notes an event of a key, a purchase or a route, which is 'k', 'p' or 'r' and its id: no hexadecimal
-- digit. Says where it stands in the order of all. The position is a 1 and a number in 15 hexadecimal
-- digits. Where an older version has kept the event, it is a 0 and the microsecond, with another 16 digits
-- to tell apart what happened in one.
local function note(subject, line)
  local position = string.format('1%015x', redis.call('INCR', prefix .. 'events_noted'))
  redis.call('ZADD', prefix .. 'events', 0, position .. subject .. ' ' .. line)
  return position
end

local function note_key(id, line)
  redis.call('RPUSH', prefix .. 'history:' .. id, note('k' .. id, line) .. line)
end

-- One that goes by itself.
local function note_ending(subject, line)
  local event = note(subject, line) .. subject .. ' ' .. line
  redis.call('ZADD', prefix .. 'events_ending', string.match(line, '^%S+ (%S+)'), event)
end

local function note_purchase(id, line)
  note_ending('p' .. id, line)
end

-- How long the position is in a line of a key's history: none stands in one of an older version that is
-- not listed yet.
local function position_of(line)
  local first = string.sub(line, 1, 1)
  return first == '1' and 16 or first == '0' and 32 or 0
end

-- The event of a key as it stands in the order of all, by what stands in the key's history.
local function event_of(id, line)
  local length = position_of(line)
  return string.sub(line, 1, length) .. 'k' .. id .. ' ' .. string.sub(line, length + 1)
end

-- The arguments from `first` on: id, digest, kind, its predecessor's digest or '', cursor, end, event,
-- then fields and values.
local function add_key(first)
  local id, digest, kind, old, cursor, ends_at, event = unpack(ARGV, first, first + 6)
  tell(digest)
  if old ~= '' then tell(old) end
  redis.call('HSET', prefix .. 'key:' .. id, unpack(ARGV, first + 7))
  redis.call('SET', prefix .. 'digest:' .. digest, id)
  if old ~= '' then redis.call('SET', prefix .. 'digest:' .. old, id) end
  redis.call('ZADD', prefix .. 'keys:' .. kind, 0, cursor)
  if ends_at ~= '' then redis.call('ZADD', prefix .. 'ending', ends_at, id) end
  note_key(id, event)
end

-- The old digest is that of the predecessor from now on, where it is said until when.
local function rotate_key(id, old, new, display, event, until_)
  local key = prefix .. 'key:' .. id
  local older, shown = unpack(redis.call('HMGET', key, 'old_digest', 'display'))
  if older then tell(older) end
  tell(old)
  tell(new)
  if older then redis.call('DEL', prefix .. 'digest:' .. older) end
  if until_ == '' then
    redis.call('DEL', prefix .. 'digest:' .. old)
    redis.call('HDEL', key, 'old_digest', 'old_display', 'old_until')
  else
    redis.call('HSET', key, 'old_digest', old, 'old_display', shown, 'old_until', until_)
  end
  redis.call('HSET', key, 'digest', new, 'display', display)
  redis.call('SET', prefix .. 'digest:' .. new, id)
  note_key(id, event)
end

-- The digests that are dead by it: none where there is no such key, or it was revoked before.
local function revoke_key(id, now, event, reason)
  local key = prefix .. 'key:' .. id
  local digest, revoked_at, old = unpack(redis.call('HMGET', key, 'digest', 'revoked_at',
    'old_digest'))
  if not digest or revoked_at then return {} end
  tell(digest)
  if old then tell(old) end
  redis.call('HSET', key, 'revoked_at', now)
  if reason then redis.call('HSET', key, 'revoked_reason', reason) end
  redis.call('ZADD', prefix .. 'ending', now, id)
  note_key(id, event)
  return old and {digest, old} or {digest}
end

-- Until then, or until the later end that is known.
local function deny(digest, until_)
  local ends = prefix .. 'denial_ends'
  local known = redis.call('HGET', ends, digest)
  if known and tonumber(known) and tonumber(known) > tonumber(until_) then until_ = known end
  tell('\001' .. digest)
  -- Listed before all else: also what is denied half is denied.
  redis.call('ZADD', prefix .. 'denied', 0, digest)
  redis.call('ZADD', prefix .. 'denied_until', until_, digest)
  redis.call('HSET', ends, digest, until_)
end

-- Notes where a purchase stands in listings: where it was first seen. `at` is the instant as it stands
-- in cursors.
local function see(at, slot)
  redis.call('ZADD', prefix .. 'purchases', 0, at .. slot)
end

-- Whether a payment of this issuance is there, which was seen first then.
local function is_paid(slot)
  local challenge = string.match(slot, '^challenge:(.*)$')
  return challenge and redis.call('EXISTS', prefix .. 'payment:' .. challenge) == 1
end

-- Whether there is an issuance, or a revocation in its place: more than a claim.
local function is_settled(slot)
  local issued_at, revoked_at = unpack(redis.call('HMGET', prefix .. 'issuance:' .. slot,
    'issued_at', 'revoked_at'))
  return issued_at or revoked_at
end

-- Notes by what a purchase is found: 'k' and the id of its key, or 'q' and that of its request. No id
-- has a blank.
local function find_by(kind, id, slot)
  if id then redis.call('ZADD', prefix .. 'purchases_by', 0, kind .. id .. ' ' .. slot) end
end
