-- source, state
for _, name in ipairs({'arrivals', 'unfinished_copy'}) do
  if redis.call('EXISTS', prefix .. name) == 1 then return 0 end
end
redis.call('HSET', prefix .. 'unfinished_copy', 'source', ARGV[2], 'state', ARGV[3], 'copied', 0)
return 1
