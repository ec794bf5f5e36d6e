-- Whatever is kept here has arrived, or was made by what has.
local state = {redis.call('GET', prefix .. 'arrivals') or '0'}
for _, set in ipairs({'orders_due', 'passports_due', 'imports_due', 'drafts', 'keys'}) do
  state[#state + 1] = redis.call('ZRANGE', prefix .. set, 0, 0, 'REV')[1] or '-'
end
return table.concat(state, ' ')
