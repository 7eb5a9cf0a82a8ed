-- When a user has come online or gone offline. The route says what is true. Each change gets a number and goes to the
-- user's mailbox; one node holds the claim to tell its head. The state has the number and kind of the last change, and
-- of the last one that was told. Comes after epoch.lua.
local DAY_MS = 86400000
local settle_until = tonumber(redis.call('HGET', server, 'settle_until') or 0)

local function set_state(audience, seq, kind)
  redis.call('HSET', state(audience), 'seq', digits(seq), 'online', kind == 'online' and 1 or 0)
  if kind == 'online' then
    redis.call('PERSIST', state(audience))
  else
    redis.call('PEXPIRE', state(audience), DAY_MS)
  end
end

local function seq_of(audience) return tonumber(redis.call('HGET', state(audience), 'seq') or 0) end

-- Let a node tell the head of a mailbox. Returns the edge {audience, seq, 'online' or 'offline', attempt}, or nil if
-- the mailbox is empty.
local function claim_head(audience, node, attempt)
  local head = redis.call('LINDEX', edges(audience), 0)
  if not head then return nil end
  local seq, kind = string.match(head, '^(%d+)|(%a+)$')
  redis.call('HSET', claim(audience), 'node', node, 'seq', seq, 'attempt', attempt, 'epoch', epoch)
  redis.call('SADD', claims(node), audience)
  return {audience, seq, kind, tonumber(attempt)}
end

local function drop_claim(audience)
  local holder = redis.call('HGET', claim(audience), 'node')
  if holder then redis.call('SREM', claims(holder), audience) end
  redis.call('DEL', claim(audience))
end

-- Take the edges up to a number out of the mailbox. Returns whether there were any.
local function drop_up_to(audience, seq)
  local dropped = false
  local head = redis.call('LINDEX', edges(audience), 0)
  while head and tonumber(string.match(head, '^%d+')) <= seq do
    redis.call('LPOP', edges(audience))
    dropped, head = true, redis.call('LINDEX', edges(audience), 0)
  end
  return dropped
end

-- Returns the edge if `node` is to tell it now; nil if an earlier one is still being told, and whoever does hands over.
-- Numbers begin with the clock, so that they stay unique when the state was forgotten.
local function transition(audience, kind, node)
  local seq = math.max(seq_of(audience), redis.call('EXISTS', state(audience)) == 1 and 0 or clock()) + 1
  set_state(audience, seq, kind)
  if redis.call('RPUSH', edges(audience), digits(seq) .. '|' .. kind) == 1 then
    return claim_head(audience, node, 1)
  end
  return nil
end

-- Remember that the hooks were told an edge.
local function set_told(audience, seq, kind)
  if seq > tonumber(redis.call('HGET', state(audience), 'told_seq') or 0) then
    redis.call('HSET', state(audience), 'told_seq', digits(seq), 'told', kind == 'online' and 1 or 0)
  end
end

-- Whether the hooks take the user to be online once they were told all that waits. Where nothing waits that is what
-- they were told last: an edge that was decided and not told has been forgotten with the mailbox.
local function is_taken_for_online(audience)
  local online, told = unpack(redis.call('HMGET', state(audience), 'online', 'told'))
  if told and redis.call('EXISTS', edges(audience)) == 0 then return told == '1' end
  return online == '1'
end

-- Compare truth and state; called at the end of whatever touched a route. Returns an edge for `node`, or nil.
-- grace_ms  how long a user may be gone before it is told; 0: tell it now
local function settle(audience, grace_ms, node)
  local is_online = redis.call('HLEN', route(audience)) > 0
  if is_online then
    redis.call('PERSIST', position(audience))
  elseif is_user(audience) then
    redis.call('PEXPIRE', position(audience), DAY_MS)
  else
    redis.call('DEL', position(audience), stream(audience)) -- a connection that has gone does not come back
  end
  if not is_user(audience) then return nil end -- connections without a user have no hooks

  if is_online == is_taken_for_online(audience) then
    redis.call('ZREM', grace, audience)
    return nil
  end
  local now = clock()
  if now < settle_until then
    redis.call('ZADD', grace, 'NX', digits(settle_until), audience)
    return nil
  end
  if not is_online and grace_ms > 0 then
    redis.call('ZADD', grace, 'NX', now + grace_ms, audience)
    return nil
  end
  redis.call('ZREM', grace, audience)
  return transition(audience, is_online and 'online' or 'offline', node)
end

-- Take a node's word for what was decided, and told, before Redis forgot it. What an old dump has in the mailbox and
-- was told is dropped.
-- Returns the edge that `node` is to tell next, or nil.
local function restore(audience, seq, kind, told_seq, told, node)
  if seq_of(audience) < seq then set_state(audience, seq, kind) end
  if told_seq == 0 then return nil end
  set_told(audience, told_seq, told)
  -- Claimed since Redis is what it is: that is no dump, and who has it acknowledges it.
  if redis.call('HGET', claim(audience), 'epoch') == epoch then return nil end
  if not drop_up_to(audience, told_seq) then return nil end
  drop_claim(audience)
  return claim_head(audience, node, 1)
end
