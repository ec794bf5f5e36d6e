-- slots of purchases that an older version has kept
for i = 2, #ARGV do
  local slot = ARGV[i]
  local issued_at, revoked_at, key_id, request = unpack(redis.call('HMGET',
    prefix .. 'issuance:' .. slot, 'issued_at', 'revoked_at', 'key_id', 'request_id'))
  local challenge, received_at, paid_by = string.match(slot, '^challenge:(.*)$'), nil, nil
  if challenge then
    received_at, paid_by = unpack(redis.call('HMGET', prefix .. 'payment:' .. challenge,
      'received_at', 'request_id'))
  end
  local issued, paid = tonumber(issued_at or revoked_at), tonumber(received_at)
  local first = issued and paid and math.min(issued, paid) or issued or paid
  -- As cursors have it, whose first digit is 8 from 1970 on.
  if first and first >= 0 then see(string.format('8%015x', first), slot) end
  find_by('k', key_id, slot)
  find_by('q', request, slot)
  find_by('q', paid_by, slot)
end
