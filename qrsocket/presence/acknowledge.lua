#!lua flags=allow-oom
-- A transition was told: its claim ends, and the next in the mailbox is claimed for the same node.
-- ARGV[1]  node    ARGV[2]  stream    ARGV[3]  number of the transition    ARGV[4]  'online' or 'offline'
-- ARGV[5]  offline grace in ms
-- Returns {'OK', transition or nothing}; {'STALE'} if the claim was not this node's any more.
--include presence/transition
local node, stream = ARGV[1], ARGV[2]
local holder, seq = unpack(redis.call('HMGET', claim(stream), 'node', 'seq'))
if holder ~= node or seq ~= ARGV[3] then return {'STALE'} end
redis.call('LPOP', transitions(stream))
drop_claim(stream)
set_told(stream, tonumber(seq), ARGV[4])
if not redis.call('ZSCORE', nodes, node) then
  -- A node that is being emptied gets nothing more: who does that tells the next, as its first attempt.
  -- A user who is only on that node may come back elsewhere: the grace begins now. Whoever is elsewhere has none.
  local is_here = redis.call('EXISTS', route(stream)) == 1
  if not claim_head(stream, node, 0) and is_here ~= is_taken_for_online(stream) then
    redis.call('ZADD', grace, 'NX', digits(clock() + ARGV[5]), stream)
  end
  return {'OK'}
end
return {'OK', claim_head(stream, node, 1) or detect(stream, tonumber(ARGV[5]), node)}
