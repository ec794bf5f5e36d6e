-- before, how many
local ids = redis.call('ZRANGE', prefix .. 'ending', '-inf', '(' .. ARGV[2], 'BYSCORE',
  'LIMIT', 0, ARGV[3])
local digests, gone = {}, {}
for i, id in ipairs(ids) do
  local record = redis.call('HMGET', prefix .. 'key:' .. id, 'digest', 'kind', 'place',
    'old_digest', 'display', 'label')
  gone[i] = {id, unpack(record, 1, 6)}
end
for _, key in ipairs(gone) do
  local id, digest, kind, cursor, old, display, label = unpack(key, 1, 7)
  if digest then
    digests[#digests + 1] = digest
    tell(digest)
    redis.call('DEL', prefix .. 'digest:' .. digest)
    if old then
      digests[#digests + 1] = old
      tell(old)
      redis.call('DEL', prefix .. 'digest:' .. old)
    end
    redis.call('ZREM', prefix .. 'keys:' .. kind, cursor)
  end
  -- Its events stay, and what may be shown of it.
  redis.call('HSET', prefix .. 'shown:' .. id, 'display', display or '', 'label', label or '')
  redis.call('ZADD', prefix .. 'events_ending', ARGV[2], 'k' .. id)
  redis.call('DEL', prefix .. 'key:' .. id)
  redis.call('ZREM', prefix .. 'ending', id)
end
return {#ids, digests}
