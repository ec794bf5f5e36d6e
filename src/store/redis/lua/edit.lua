-- id, how often it was edited, the digest that was read, end, how many events, the events, then
-- fields and values: '' for one that is to go
local id, edits, seen, ends_at, events = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local key = prefix .. 'key:' .. id
local digest, old, revoked_at, edited = unpack(redis.call('HMGET', key, 'digest', 'old_digest',
  'revoked_at', 'edits'))
if digest ~= seen or revoked_at or (edited or '') ~= edits then return 0 end
tell(digest)
if old then tell(old) end
for i = 7 + events, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', key, ARGV[i])
  else
    redis.call('HSET', key, ARGV[i], ARGV[i + 1])
  end
end
redis.call('HINCRBY', key, 'edits', 1)
if ends_at == '' then
  redis.call('ZREM', prefix .. 'ending', id)
else
  redis.call('ZADD', prefix .. 'ending', ends_at, id)
end
for i = 7, 6 + events do note_key(id, ARGV[i]) end
return 1
