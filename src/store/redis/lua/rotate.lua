-- id, old digest, new digest, display, event
local id, old, new, display, event = unpack(ARGV, 2, 6)
local digest, revoked_at = unpack(redis.call('HMGET', prefix .. 'key:' .. id, 'digest',
  'revoked_at'))
if digest ~= old or revoked_at then return 0 end
if new ~= old and redis.call('EXISTS', prefix .. 'digest:' .. new) == 1 then return conflict() end
rotate_key(id, old, new, display, event)
return 1
