-- the last revision that is known, how many changes may be told
local revision = tonumber(redis.call('GET', prefix .. 'revision') or 0)
local missed = revision - tonumber(ARGV[2])
if missed <= 0 or missed > tonumber(ARGV[3]) then return {revision, {}} end
return {revision, redis.call('LRANGE', prefix .. 'changes', -missed, -1)}
