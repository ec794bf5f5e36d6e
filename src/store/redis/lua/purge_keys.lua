-- before, how many
local ids = redis.call('ZRANGE', prefix .. 'ending', '-inf', '(' .. ARGV[2], 'BYSCORE',
  'LIMIT', 0, ARGV[3])
local digests, gone = {}, {}
for i, id in ipairs(ids) do
  local record = redis.call('HMGET', prefix .. 'key:' .. id, 'digest', 'kind', 'place',
    'old_digest')
  gone[i] = {id, unpack(record)}
end
for _, key in ipairs(gone) do
  local id, digest, kind, cursor, old = unpack(key, 1, 5)
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
  redis.call('DEL', prefix .. 'key:' .. id, prefix .. 'history:' .. id)
  redis.call('ZREM', prefix .. 'ending', id)
end
return {#ids, digests}
