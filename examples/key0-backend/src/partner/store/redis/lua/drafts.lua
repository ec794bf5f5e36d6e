
-- Stands before scripts that make passports or hand drafts over.
local function drafts(application, model)
  return {'drafts', 'drafts:application:' .. application, 'drafts:model:' .. model}
end

local function make(id, name, application, model, content, at)
  local arrival = arrive()
  redis.call('SET', prefix .. 'model:' .. name, id)
  redis.call('HSET', prefix .. 'passport:' .. id, 'content', content, 'application', application,
    'model', model, 'certification', 'none', 'created_at', at, 'updated_at', at)
  for _, set in ipairs(drafts(application, model)) do
    redis.call('ZADD', prefix .. set, arrival, id)
  end
end
