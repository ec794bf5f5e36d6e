-- 'k' or 'q' and an id, how many; or 'h', a hash, and the same as older versions may have kept it or ''
local what, slots = ARGV[2], {}
if what == 'h' then
  for i = 3, 4 do
    local issued = redis.call('GET', prefix .. 'spent:' .. ARGV[i])
    if issued then slots[#slots + 1] = issued end
    local paid = redis.call('GET', prefix .. 'paid:' .. ARGV[i])
    if paid and issued ~= 'challenge:' .. paid then slots[#slots + 1] = 'challenge:' .. paid end
  end
  return slots
end
local found = redis.call('ZRANGE', prefix .. 'purchases_by', '[' .. what .. ' ', '(' .. what .. '!',
  'BYLEX', 'LIMIT', 0, ARGV[3])
for i, member in ipairs(found) do slots[i] = string.sub(member, #what + 2) end
return slots
