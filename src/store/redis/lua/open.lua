-- KEYS[1] names the version, ARGV[1] is what to write where nothing is, unless
-- ARGV[2] is 1.
local prefix = string.sub(KEYS[1], 1, -#'version' - 1)

local needed = {
  {'get', KEYS[1]}, {'set', KEYS[1], ''}, {'del', KEYS[1]}, {'exists', KEYS[1]},
  {'incr', KEYS[1]}, {'hget', KEYS[1], ''}, {'hset', KEYS[1], '', ''}, {'hmget', KEYS[1], ''},
  {'hgetall', KEYS[1]}, {'hdel', KEYS[1], ''}, {'hincrby', KEYS[1], '', '1'},
  {'zadd', KEYS[1], '1', ''}, {'zrem', KEYS[1], ''}, {'zrange', KEYS[1], '0', '0'},
  {'zscore', KEYS[1], ''},
  {'rpush', KEYS[1], ''}, {'ltrim', KEYS[1], '0', '0'}, {'lrange', KEYS[1], '0', '0'},
  {'publish', prefix .. 'changes:' .. ARGV[1], ''}, {'subscribe', prefix .. 'changes:' .. ARGV[1]},
}
local missing = {}
for _, command in ipairs(needed) do
  if not redis.acl_check_cmd(unpack(command)) then missing[#missing + 1] = command[1] end
end
if #missing > 0 then return {'rights', table.concat(missing, ' ')} end

local found = redis.pcall('GET', KEYS[1])
if type(found) == 'table' then return {'foreign', ''} end
if found then return {'found', found} end
-- Without a version, this can't be what is left of a database of ours.
for _, name in ipairs({'revision', 'changes', 'keys:integrator', 'keys:payment', 'ending',
    'nonces', 'arrivals', 'due', 'requests', 'denied', 'denied_until', 'denial_ends',
    'unknown_revocations', 'purchases', 'purchases_by'}) do
  if redis.call('EXISTS', prefix .. name) == 1 then return {'foreign', ''} end
end
if ARGV[2] == '1' then return {'missing', ''} end
redis.call('SET', KEYS[1], ARGV[1])
return {'made', ARGV[1]}
