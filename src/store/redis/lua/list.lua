-- kind, where to begin, the instant to be in force at or '', how many keys, how many cursors, bytes,
-- what the display form begins with, the instant not to be used since or '', then fields and what
-- stands there
local now, wanted, room = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[7])
local shown, idle_since = ARGV[8], tonumber(ARGV[9])
local cursors = redis.call('ZRANGE', prefix .. 'keys:' .. ARGV[2], ARGV[3], '-', 'BYLEX', 'REV',
  'LIMIT', 0, ARGV[6])
local keys, looked = {}, 0
for _, cursor in ipairs(cursors) do
  if #keys == wanted or room <= 0 then break end
  looked = looked + 1
  local key, over = prefix .. 'key:' .. string.sub(cursor, 17), false
  if now then
    local revoked_at, expires_at, suspended_at = unpack(redis.call('HMGET', key, 'revoked_at',
      'expires_at', 'suspended_at'))
    over = revoked_at or suspended_at or (expires_at and tonumber(expires_at) <= now)
  end
  if not over and shown ~= '' then
    local display = redis.call('HGET', key, 'display') or ''
    over = string.sub(display, 1, #shown) ~= shown
  end
  if not over and idle_since then
    local used_at, created_at = unpack(redis.call('HMGET', key, 'last_used_at', 'created_at'))
    over = not created_at or tonumber(used_at or created_at) >= idle_since
  end
  for i = 10, #ARGV, 2 do
    over = over or redis.call('HGET', key, ARGV[i]) ~= ARGV[i + 1]
  end
  if not over then
    local record = redis.call('HGETALL', key)
    for _, value in ipairs(record) do room = room - #value end
    keys[#keys + 1] = record
  end
end
local finished = looked == #cursors and #cursors < tonumber(ARGV[6])
return {looked, (not finished) and cursors[looked] or '', keys}
