-- When a user has come online or gone offline. The route says what is true, the state what was last told.
local DAY_MS = 86400000

-- Returns the edge {audience, seq, 'online' or 'offline'}. Numbers begin with the clock, so that they stay unique when
-- the state was forgotten.
local function transition(audience, kind)
  local seq = (tonumber(redis.call('HGET', state(audience), 'seq')) or clock()) + 1
  -- '%.0f': Lua would write the clock as 1.7e+12
  redis.call('HSET', state(audience), 'seq', string.format('%.0f', seq), 'online', kind == 'online' and 1 or 0)
  if kind == 'online' then
    redis.call('PERSIST', state(audience))
  else
    redis.call('PEXPIRE', state(audience), DAY_MS)
  end
  return {audience, seq, kind}
end

-- Compare truth and state; called at the end of whatever touched a route. Returns an edge or nil.
-- grace_ms  how long a user may be gone before it is told; 0: tell it now
local function settle(audience, grace_ms)
  if string.sub(audience, 1, 2) ~= 'u:' then return nil end -- connections without a user have no hooks
  local is_online = redis.call('HLEN', route(audience)) > 0
  local was_online = redis.call('HGET', state(audience), 'online') == '1'
  if is_online then
    redis.call('ZREM', grace, audience)
    if not was_online then return transition(audience, 'online') end
  elseif was_online and grace_ms > 0 then
    redis.call('ZADD', grace, 'NX', clock() + grace_ms, audience)
  elseif was_online then
    return transition(audience, 'offline')
  end
  return nil
end
