-- id, name, application, model, content, answer
local id, name, application, model, content, answer = unpack(ARGV, 6, 11)
if redis.call('EXISTS', prefix .. 'model:' .. name) == 1 then return refuse('taken') end
make(id, name, application, model, content, now)
return done(answer)
