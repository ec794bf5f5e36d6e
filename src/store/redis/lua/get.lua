-- id
local record = redis.call('HGETALL', prefix .. 'key:' .. ARGV[2])
return #record > 0 and record
