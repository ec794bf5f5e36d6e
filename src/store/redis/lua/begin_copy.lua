-- source, state
local marker = prefix .. 'unfinished_copy'
for _, name in ipairs({'unfinished_copy', 'keys:integrator', 'keys:payment', 'purchases', 'denied',
    'events', 'unknown_revocations', 'requests'}) do
  if redis.call('EXISTS', prefix .. name) == 1 then return conflict() end
end
redis.call('HSET', marker, 'source', ARGV[2], 'state', ARGV[3], 'copied', 0)
return 1
