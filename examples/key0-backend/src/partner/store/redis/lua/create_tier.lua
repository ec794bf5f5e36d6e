-- id, name, threshold, answer
local id, name, threshold, answer = unpack(ARGV, 6, 9)
local arrival = arrive()
redis.call('HSET', prefix .. 'tier:' .. arrival, 'id', id, 'name', name, 'threshold', threshold,
  'created_at', now)
redis.call('ZADD', prefix .. 'tiers', arrival, arrival)
return done(answer)
