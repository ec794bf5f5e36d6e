-- id
local arrival = redis.call('GET', prefix .. 'import_id:' .. ARGV[2])
if not arrival then return false end
return redis.call('HGET', prefix .. 'import:' .. arrival, 'outcome') or ''
