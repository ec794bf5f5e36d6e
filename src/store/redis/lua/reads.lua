
-- Stands before scripts that only read. A replica would answer, although a key may be revoked by
-- now elsewhere: it refuses to remove even what is not there. Anything more that refuses writes,
-- as a full disk does, is no reason not to read.
local removed = redis.pcall('DEL', prefix .. 'none')
if type(removed) == 'table' and string.find(removed.err, '^READONLY') then
  return redis.error_reply(removed.err)
end
