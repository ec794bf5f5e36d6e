-- KEYS[1] names the version, ARGV[1] is the older one, ARGV[2] the one to be.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  -- What versions before 5 have kept is to be listed.
  redis.call('SET', string.sub(KEYS[1], 1, -#'version' - 1) .. 'unlisted', 1)
  redis.call('SET', KEYS[1], ARGV[2])
end
return redis.call('GET', KEYS[1])
