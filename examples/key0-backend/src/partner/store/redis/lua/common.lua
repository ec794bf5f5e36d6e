-- Stands before every other script. KEYS[1] names the version of the backend's own store, ARGV[1] is
-- what it must be.
local prefix = string.sub(KEYS[1], 1, -#'version' - 1) .. 'partner:'
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('KEY0LOST this is not the database that was opened')
end

-- Lua has no other numbers than these: exact up to 2^53.
local function whole(number) return string.format('%.0f', number) end
local function arrive() return whole(redis.call('INCR', prefix .. 'arrivals')) end

-- The members of a sorted set whose time has come, so many at most.
local function due(set, now, limit)
  return redis.call('ZRANGE', prefix .. set, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
end
