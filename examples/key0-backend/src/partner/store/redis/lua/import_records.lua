-- slot, fingerprint, now and forgotten of every effect, which this is none of; how many records there
-- were, where the next page begins, how many there are now; then of each record its table, how many of
-- the following, fields and values
local had, position, copied = unpack(ARGV, 6, 8)
if redis.call('HGET', prefix .. 'unfinished_copy', 'copied') ~= had then return 0 end
local function is_there(name) return redis.call('EXISTS', prefix .. name) == 1 end
local function arrived(arrival)
  if tonumber(arrival) > tonumber(redis.call('GET', prefix .. 'arrivals') or 0) then
    redis.call('SET', prefix .. 'arrivals', arrival)
  end
end
local function put(name, of, fields)
  for _, field in ipairs(fields) do
    if of[field] then redis.call('HSET', prefix .. name, field, of[field]) end
  end
end

local each = {}

function each.partner_passports(of)
  if is_there('passport:' .. of.id) then return end
  make(of.id, of.model, of.application, of.model_number, of.content, of.created_at)
  local name = 'passport:' .. of.id
  put(name, of, {'certification', 'updated_at'})
  if of.certification ~= 'none' then
    for _, set in ipairs(drafts(of.application, of.model_number)) do
      redis.call('ZREM', prefix .. set, of.id)
    end
  end
  if of.due_at then redis.call('ZADD', prefix .. 'passports_due', of.due_at, of.id) end
end

function each.partner_imports(of)
  if is_there('import_id:' .. of.id) then return end
  local owner, bytes = of.owner or '', of.bytes or (of.wanted and #of.wanted) or 0
  redis.call('HSET', prefix .. 'import:' .. of.arrival, 'id', of.id, 'owner', owner, 'bytes', bytes)
  put('import:' .. of.arrival, of, {'outcome', 'due_at'})
  if of.wanted then redis.call('HSET', prefix .. 'import:' .. of.arrival, 'rows', of.wanted) end
  redis.call('SET', prefix .. 'import_id:' .. of.id, of.arrival)
  if of.due_at then
    redis.call('HINCRBY', prefix .. 'owed:' .. owner, 'waiting', 1)
    redis.call('HINCRBY', prefix .. 'owed:' .. owner, 'bytes', bytes)
    redis.call('ZADD', prefix .. 'imports_due', of.due_at, of.arrival)
  end
  arrived(of.arrival)
end

function each.partner_reward_tiers(of)
  put('tier:' .. of.arrival, of, {'id', 'name', 'threshold', 'created_at'})
  redis.call('ZADD', prefix .. 'tiers', of.arrival, of.arrival)
  arrived(of.arrival)
end

function each.partner_accounts(of)
  redis.call('SET', prefix .. 'balance:' .. of.id, of.balance)
end

function each.partner_orders(of)
  put('order:' .. of.arrival, of, {'id', 'amount', 'status', 'created_at'})
  redis.call('ZADD', prefix .. 'orders:' .. of.account, of.arrival, of.arrival)
  if of.due_at then redis.call('ZADD', prefix .. 'orders_due', of.due_at, of.arrival) end
  arrived(of.arrival)
end

function each.partner_keys(of)
  put('key:' .. of.slot, of, {'fingerprint', 'answer', 'created_at'})
  redis.call('ZADD', prefix .. 'keys', of.created_at, of.slot)
end

local place = 9
while ARGV[place] do
  local last, of = place + 1 + tonumber(ARGV[place + 1]), {}
  for name = place + 2, last, 2 do of[ARGV[name]] = ARGV[name + 1] end
  each[ARGV[place]](of)
  place = last + 1
end
redis.call('HSET', prefix .. 'unfinished_copy', 'position', position, 'copied', copied)
return 1
