-- the instant up to which keys are forgotten, how many
local slots = due('keys', ARGV[2], ARGV[3])
for _, slot in ipairs(slots) do
  redis.call('DEL', prefix .. 'key:' .. slot)
  redis.call('ZREM', prefix .. 'keys', slot)
end
return #slots
