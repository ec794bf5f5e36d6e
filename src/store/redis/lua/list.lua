-- kind, where to begin, the instant to be in force at or '', how many keys, how many cursors, bytes
local now, wanted, room = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[7])
local cursors = redis.call('ZRANGE', prefix .. 'keys:' .. ARGV[2], ARGV[3], '-', 'BYLEX', 'REV',
  'LIMIT', 0, ARGV[6])
local keys, looked = {}, 0
for _, cursor in ipairs(cursors) do
  if #keys == wanted or room <= 0 then break end
  looked = looked + 1
  local key, over = prefix .. 'key:' .. string.sub(cursor, 17), false
  if now then
    local revoked_at, expires_at = unpack(redis.call('HMGET', key, 'revoked_at', 'expires_at'))
    over = revoked_at or (expires_at and tonumber(expires_at) <= now)
  end
  if not over then
    local record = redis.call('HGETALL', key)
    for _, value in ipairs(record) do room = room - #value end
    keys[#keys + 1] = record
  end
end
local finished = looked == #cursors and #cursors < tonumber(ARGV[6])
return {looked, (not finished) and cursors[looked] or '', keys}
