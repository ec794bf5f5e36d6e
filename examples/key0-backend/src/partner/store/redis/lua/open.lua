-- The version of what the partner API keeps here; ARGV[2] where nothing is there yet.
local found = redis.call('GET', prefix .. 'version')
if found then return found end
redis.call('SET', prefix .. 'version', ARGV[2])
return ARGV[2]
