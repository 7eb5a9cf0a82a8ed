-- When a user has come online or gone offline, or has joined a topic or left it. The route says what is true. Each
-- change of a user gets a number and goes to the user's mailbox; one node holds the claim to tell its head. The state
-- has the number and kind of the last change, and of the last one that was told.
--include presence/members
local DAY_MS = 86400000
local quiet_until = tonumber(redis.call('HGET', server, 'quiet_until') or 0)

local function set_state(stream, seq, kind)
  redis.call('HSET', state(stream), 'seq', digits(seq), 'online', kind == 'online' and 1 or 0)
  if kind == 'online' then
    redis.call('PERSIST', state(stream))
  else
    redis.call('PEXPIRE', state(stream), DAY_MS)
  end
end

local function seq_of(stream) return tonumber(redis.call('HGET', state(stream), 'seq') or 0) end

-- Let a node tell the head of a mailbox. Returns the transition {stream, seq, 'online' or 'offline', attempt}, or nil if
-- the mailbox is empty.
local function claim_head(stream, node, attempt)
  local head = redis.call('LINDEX', transitions(stream), 0)
  if not head then return nil end
  local seq, kind = string.match(head, '^(%d+)|(%a+)$')
  redis.call('HSET', claim(stream), 'node', node, 'seq', seq, 'attempt', attempt, 'epoch', epoch)
  redis.call('SADD', claims(node), stream)
  return {stream, seq, kind, tonumber(attempt)}
end

local function drop_claim(stream)
  local holder = redis.call('HGET', claim(stream), 'node')
  if holder then redis.call('SREM', claims(holder), stream) end
  redis.call('DEL', claim(stream))
end

-- Take the transitions up to a number out of the mailbox. Returns whether there were any.
local function drop_up_to(stream, seq)
  local dropped = false
  local head = redis.call('LINDEX', transitions(stream), 0)
  while head and tonumber(string.match(head, '^%d+')) <= seq do
    redis.call('LPOP', transitions(stream))
    dropped, head = true, redis.call('LINDEX', transitions(stream), 0)
  end
  return dropped
end

-- Returns the transition if `node` is to tell it now; nil if an earlier one is still being told, and whoever does hands over.
-- Numbers begin with the clock, so that they stay unique when the state was forgotten.
local function change_user(stream, kind, node)
  local seq = math.max(seq_of(stream), redis.call('EXISTS', state(stream)) == 1 and 0 or clock()) + 1
  set_state(stream, seq, kind)
  if redis.call('RPUSH', transitions(stream), digits(seq) .. '|' .. kind) == 1 then
    return claim_head(stream, node, 1)
  end
  return nil
end

-- Remember that the hooks were told a transition.
local function set_told(stream, seq, kind)
  if seq > tonumber(redis.call('HGET', state(stream), 'told_seq') or 0) then
    redis.call('HSET', state(stream), 'told_seq', digits(seq), 'told', kind == 'online' and 1 or 0)
  end
end

-- Whether the hooks take the user to be online once they were told all that waits. Where nothing waits that is what
-- they were told last: a transition that was decided and not told has been forgotten with the mailbox.
local function is_taken_for_online(stream)
  local online, told = unpack(redis.call('HMGET', state(stream), 'online', 'told'))
  if told and redis.call('EXISTS', transitions(stream)) == 0 then return told == '1' end
  return online == '1'
end

-- What is remembered of a stream stays as long as somebody is subscribed to it, and a day longer where one may come back.
local function keep_position(stream, is_here)
  if is_here then
    redis.call('PERSIST', position(stream))
    redis.call('PERSIST', position(jobs_of(stream)))
  elseif is_connection(stream) then -- one that has gone does not come back
    redis.call('DEL', position(stream), history(stream), position(jobs_of(stream)))
  else
    redis.call('PEXPIRE', position(stream), DAY_MS)
    redis.call('PEXPIRE', position(jobs_of(stream)), DAY_MS)
  end
end

-- Compare truth and state; called at the end of whatever touched a route. Returns a transition for `node`, or nil.
-- grace_ms  how long a user, or a member of a topic, may be gone before it is told; 0: tell it now
local function detect(stream, grace_ms, node)
  local is_here = redis.call('EXISTS', route(stream)) == 1
  local topic, member = member_in(stream)
  if not topic then keep_position(stream, is_here) end
  local has_transitions, was_here = is_user(stream)
  if topic then
    was_here = redis.call('SISMEMBER', members(topic), member) == 1
  elseif has_transitions then
    was_here = is_taken_for_online(stream)
  else
    return nil -- nobody is told when other streams are taken or left
  end

  if is_here == was_here then
    redis.call('ZREM', grace, stream)
    return nil
  end
  local now = clock()
  if now < quiet_until and not (topic and is_here) then
    redis.call('ZADD', grace, 'NX', digits(quiet_until), stream)
    return nil
  end
  if not is_here and grace_ms > 0 then
    redis.call('ZADD', grace, 'NX', now + grace_ms, stream)
    return nil
  end
  redis.call('ZREM', grace, stream)
  if topic then return change_members(topic, member, is_here) end
  return change_user(stream, is_here and 'online' or 'offline', node)
end

-- Take a node's word for what was decided, and told, before Redis forgot it. What an old dump has in the mailbox and
-- was told is dropped.
-- Returns the transition that `node` is to tell next, or nil.
local function restore(stream, seq, kind, told_seq, told, node)
  if seq_of(stream) < seq then set_state(stream, seq, kind) end
  if told_seq == 0 then return nil end
  set_told(stream, told_seq, told)
  -- Claimed since Redis is what it is: that is no dump, and who has it acknowledges it.
  if redis.call('HGET', claim(stream), 'epoch') == epoch then return nil end
  if not drop_up_to(stream, told_seq) then return nil end
  drop_claim(stream)
  return claim_head(stream, node, 1)
end
