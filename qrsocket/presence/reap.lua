#!lua flags=allow-oom
-- Empty a dead node, take over what it had to tell, and tell who has been gone for longer than the grace. Small steps:
-- a call holds up everyone.
-- ARGV[1]  the node that reaps    ARGV[2]  offline grace in ms    ARGV[3]  most streams of each kind in this call
-- Returns {more, transition...}: more is 1 if another call has work to do. Nothing if the reaper's own lease has ended, or
-- if no node has renewed for so long that the next renewal will lengthen all leases.
--include presence/transition
local me, grace_ms, batch = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local lease = redis.call('ZSCORE', nodes, me)
local now = clock()
if not lease or tonumber(lease) <= now then return {0} end
local beat, lease_ms = unpack(redis.call('HMGET', server, 'beat', 'lease_ms'))
if now - (beat or now) > (lease_ms or 0) / 2 then return {0} end
local reply = {0}

for _, dead in ipairs(redis.call('ZRANGEBYSCORE', nodes, '-inf', now)) do
  redis.call('ZREM', nodes, dead)
  redis.call('ZADD', reaping, now, dead) -- remembered, so that a reaper may die half-way
end
local dead = redis.call('ZRANGE', reaping, 0, 0)[1]
if dead then
  for _, stream in ipairs(redis.call('SPOP', claims(dead), batch)) do
    local holder, attempt = unpack(redis.call('HMGET', claim(stream), 'node', 'attempt'))
    if holder == dead then reply[#reply + 1] = claim_head(stream, me, attempt + 1) end
  end
  for _, stream in ipairs(redis.call('SPOP', streams(dead), batch)) do
    redis.call('HDEL', route(stream), dead)
    reply[#reply + 1] = detect(stream, grace_ms, me)
  end
  if redis.call('EXISTS', streams(dead), claims(dead)) == 0 then
    redis.call('ZREM', reaping, dead)
    redis.call('HDEL', envelopes, dead)
  end
  reply[1] = redis.call('EXISTS', reaping)
end

-- Not before dead nodes are empty: somebody may be on one that is not looked at yet, and would get another grace.
if reply[1] == 0 then
  local due = redis.call('ZRANGEBYSCORE', grace, '-inf', now, 'LIMIT', 0, batch)
  for _, stream in ipairs(due) do
    redis.call('ZREM', grace, stream)
    reply[#reply + 1] = detect(stream, 0, me)
  end
  if #due == batch then reply[1] = 1 end
end
tell_members()
return reply
