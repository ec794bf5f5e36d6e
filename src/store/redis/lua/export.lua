-- a sorted set, where to begin, how many: of each member its record, a payment, and one more text
local set, begin, wanted = unpack(ARGV, 2, 4)
local function fields(name) return redis.call('HGETALL', prefix .. name) end
local members, found = redis.call('ZRANGE', prefix .. set, begin, '+', 'BYLEX', 'LIMIT', 0, wanted), {}
for place, member in ipairs(members) do
  local rest = string.sub(member, 17)
  local record, payment, more = {}, {}, ''
  if set == 'denied' then
    more = redis.call('HGET', prefix .. 'denial_ends', member) or ''
  elseif set == 'events' then
    local id = string.match(member, '^%x+k(%S+)')
    if id and redis.call('EXISTS', prefix .. 'key:' .. id) == 0 then
      record = fields('shown:' .. id)
      more = redis.call('ZSCORE', prefix .. 'events_ending', 'k' .. id) or ''
    end
  elseif set == 'purchases' then
    record = fields('issuance:' .. rest)
    local challenge = string.match(rest, '^challenge:(.*)$')
    if challenge then
      payment = fields('payment:' .. challenge)
      local arrival = redis.call('HGET', prefix .. 'payment:' .. challenge, 'arrival')
      more = arrival and redis.call('ZSCORE', prefix .. 'due', arrival .. challenge) or ''
    end
  else
    record = fields('key:' .. rest)
  end
  found[place] = {member, record, payment, more}
end
return found
