-- names without the prefix, of what is no account's orders: of each its fields, when it is due, and one
-- more text
local found = {}
for i = 2, #ARGV do
  local name = ARGV[i]
  local kind, rest = string.match(name, '^(%l+):(.*)$')
  local fields, due_at, more = {}, '', ''
  if kind == 'balance' then
    more = redis.call('GET', prefix .. name)
  elseif kind then
    fields = redis.call('HGETALL', prefix .. name)
    due_at = redis.call('ZSCORE', prefix .. kind .. 's_due', rest) or ''
  end
  found[#found + 1] = {name, fields, due_at, more or ''}
end
return found
