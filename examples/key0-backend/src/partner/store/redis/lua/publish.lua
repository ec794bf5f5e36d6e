-- when they are due, how many at most, what is wanted: 'ids' and they; 'model' and a name; 'set' and
-- one of drafts; 'none'
local due_at, limit, kind = unpack(ARGV, 6, 8)
local wanted = {}
if kind == 'ids' then
  for place = 9, #ARGV do
    if redis.call('EXISTS', prefix .. 'passport:' .. ARGV[place]) == 0 then
      return refuse('unknown', whole(place - 9))
    end
    wanted[#wanted + 1] = ARGV[place]
  end
elseif kind == 'model' then
  wanted[1] = redis.call('GET', prefix .. 'model:' .. ARGV[9]) or nil
elseif kind == 'set' then
  wanted = redis.call('ZRANGE', prefix .. ARGV[9], 0, limit - 1)
end
local accepted = 0
for _, id in ipairs(wanted) do
  local key = prefix .. 'passport:' .. id
  local certification, application, model = unpack(redis.call('HMGET', key, 'certification',
    'application', 'model'))
  if certification == 'none' then
    accepted = accepted + 1
    redis.call('HSET', key, 'certification', 'pending', 'updated_at', now)
    redis.call('ZADD', prefix .. 'passports_due', due_at, id)
    for _, set in ipairs(drafts(application, model)) do redis.call('ZREM', prefix .. set, id) end
  end
end
return done(whole(accepted))
