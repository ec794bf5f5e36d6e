-- arrival, now, then of each passport: id, name, application, model, content. What became of each is
-- kept: whoever comes after an instance that ended here goes on with that.
local arrival, now = unpack(ARGV, 2, 3)
local import = prefix .. 'import:' .. arrival
local due_at, became = unpack(redis.call('HMGET', import, 'due_at', 'became'))
if became or not due_at then return became end
local each = {}
for first = 4, #ARGV, 5 do
  local id, name, application, model, content = unpack(ARGV, first, first + 4)
  local known = redis.call('GET', prefix .. 'model:' .. name)
  if not known then
    make(id, name, application, model, content, now)
    each[#each + 1] = 'c'
  elseif redis.call('HGET', prefix .. 'passport:' .. known, 'certification') == 'none' then
    redis.call('HSET', prefix .. 'passport:' .. known, 'content', content, 'updated_at', now)
    each[#each + 1] = 'u'
  else
    each[#each + 1] = 'f'
  end
end
became = table.concat(each)
redis.call('HSET', import, 'became', became)
return became
