-- slot, display, event, then twice, for the old and the new one, with '' for what is not there:
-- key_id, digest, nonce, secret, issued_at, expires_at
local slot, display, event = unpack(ARGV, 2, 4)
local key, names = prefix .. 'issuance:' .. slot,
  {'key_id', 'digest', 'nonce', 'secret', 'issued_at', 'expires_at'}
if redis.call('HGET', key, 'revoked_at') then return 0 end
local kept = redis.call('HMGET', key, unpack(names))
for i = 1, #names do
  if (kept[i] or '') ~= ARGV[4 + i] then return 0 end
end
local id, old, new, nonce, issued_at = ARGV[5], ARGV[6], ARGV[12], ARGV[13], ARGV[15]
if id ~= '' then
  if redis.call('HGET', prefix .. 'key:' .. id, 'digest') ~= old then return 0 end
  if new ~= old and redis.call('EXISTS', prefix .. 'digest:' .. new) == 1 then
    return conflict()
  end
  rotate_key(id, old, new, display, event, '')
else
  tell(old)
  tell(new)
end
for i, name in ipairs(names) do
  if ARGV[10 + i] == '' then
    redis.call('HDEL', key, name)
  else
    redis.call('HSET', key, name, ARGV[10 + i])
  end
end
if nonce == '' then
  redis.call('ZREM', prefix .. 'nonces', slot)
else
  redis.call('ZADD', prefix .. 'nonces', issued_at, slot)
end
return 1
