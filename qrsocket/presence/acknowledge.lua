#!lua flags=allow-oom
-- An edge was told: its claim ends, and the next in the mailbox is claimed for the same node.
-- ARGV[1]  node    ARGV[2]  audience    ARGV[3]  number of the edge    ARGV[4]  'online' or 'offline'
-- Returns {'OK', edge or nothing}; {'STALE'} if the claim was not this node's any more.
local node, audience = ARGV[1], ARGV[2]
local holder, seq = unpack(redis.call('HMGET', claim(audience), 'node', 'seq'))
if holder ~= node or seq ~= ARGV[3] then return {'STALE'} end
redis.call('LPOP', edges(audience))
drop_claim(audience)
-- A node that is being emptied gets nothing more: who does that tells the next, as its first attempt.
local is_node = redis.call('ZSCORE', nodes, node)
local edge = claim_head(audience, node, is_node and 1 or 0)
if not edge then
  -- Where Redis forgot a mailbox, what was told last may not be what was decided last.
  local decided = redis.call('HGET', state(audience), 'online') == '1' and 'online' or 'offline'
  if decided ~= ARGV[4] then edge = transition(audience, decided, node) end
end
return {'OK', is_node and edge or nil}
