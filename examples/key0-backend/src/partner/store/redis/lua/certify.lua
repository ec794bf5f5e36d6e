-- now, how many
local passports = due('passports_due', ARGV[2], ARGV[3])
for _, id in ipairs(passports) do
  redis.call('HSET', prefix .. 'passport:' .. id, 'certification', 'certified', 'updated_at', ARGV[2])
  redis.call('ZREM', prefix .. 'passports_due', id)
end
return #passports
