
-- Stands before what counts once for each idempotency key: slot or '', fingerprint, now, the instant
-- up to which keys are forgotten. Scripts are not rolled back: each looks first and writes last.
local slot, fingerprint, now, forgotten = unpack(ARGV, 2, 5)
if slot ~= '' then
  local kept, answer, at = unpack(redis.call('HMGET', prefix .. 'key:' .. slot, 'fingerprint',
    'answer', 'created_at'))
  if kept and tonumber(at) > tonumber(forgotten) then return {'kept', kept, answer} end
end

local function done(answer)
  if slot ~= '' then
    redis.call('HSET', prefix .. 'key:' .. slot, 'fingerprint', fingerprint, 'answer', answer,
      'created_at', now)
    redis.call('ZADD', prefix .. 'keys', now, slot)
  end
  return {'done', '', answer}
end

local function refuse(why, detail) return {'refused', why, detail or ''} end
