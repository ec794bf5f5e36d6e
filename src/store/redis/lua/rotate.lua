-- id, old digest, new digest, display, event, until when the old one works or ''
local id, old, new, display, event, until_ = unpack(ARGV, 2, 7)
local digest, revoked_at, older = unpack(redis.call('HMGET', prefix .. 'key:' .. id, 'digest',
  'revoked_at', 'old_digest'))
if digest ~= old or revoked_at then return {0, ''} end
if new ~= old and redis.call('EXISTS', prefix .. 'digest:' .. new) == 1 then return conflict() end
rotate_key(id, old, new, display, event, until_)
return {1, older or ''}
