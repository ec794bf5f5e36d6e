
-- Stands before scripts that only read. A replica would answer, although a key may be revoked by
-- now elsewhere: it refuses to remove even what is not there. Before writes it would be wrong: a
-- script that has changed something is let go on where the memory is full.
local removed = redis.pcall('DEL', prefix .. 'none')
if type(removed) == 'table' and string.find(removed.err, '^%-?READONLY') then
  return redis.error_reply(removed.err)
end
