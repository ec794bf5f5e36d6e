-- account, amount, the order's id, when it is due, the most that an account can have
local account, amount, id, due_at, most = unpack(ARGV, 6, 10)
local balance = tonumber(redis.call('GET', prefix .. 'balance:' .. account) or 0) + tonumber(amount)
if balance > tonumber(most) then return refuse('full') end
local arrival = arrive()
redis.call('SET', prefix .. 'balance:' .. account, whole(balance))
redis.call('HSET', prefix .. 'order:' .. arrival, 'id', id, 'amount', amount, 'status', 'pending',
  'created_at', now)
redis.call('ZADD', prefix .. 'orders:' .. account, arrival, arrival)
redis.call('ZADD', prefix .. 'orders_due', due_at, arrival)
return done(whole(balance))
