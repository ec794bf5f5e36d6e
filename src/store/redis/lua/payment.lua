-- challenge
local payment = redis.call('HGETALL', prefix .. 'payment:' .. ARGV[2])
return #payment > 0 and payment
