
-- Stands before scripts that only read. A replica would answer, and may be behind: it refuses to
-- remove even what is not there.
local removed = redis.pcall('DEL', prefix .. 'none')
if type(removed) == 'table' and string.find(removed.err, '^READONLY') then
  return redis.error_reply(removed.err)
end
