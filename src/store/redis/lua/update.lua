-- KEYS[1] names the version, ARGV[1] is the older one, ARGV[2] the one to be.
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) end
return redis.call('GET', KEYS[1])
