-- where to begin, how many
local denied = redis.call('ZRANGE', prefix .. 'denied', ARGV[2], '+', 'BYLEX', 'LIMIT', 0, ARGV[3])
local ends = {}
for i, digest in ipairs(denied) do
  ends[i] = redis.call('HGET', prefix .. 'denial_ends', digest) or ''
end
return {denied, ends}
