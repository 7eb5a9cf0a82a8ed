#!lua flags=allow-oom
-- A node that came back under a new name goes on telling what it had claimed under the old one.
-- ARGV[1]  node    ARGV[2]  stream    ARGV[3]  number of the transition    ARGV[4]  'online' or 'offline'
-- ARGV[5]  attempt    ARGV[6]  the node's old name    ARGV[7]  epoch in which the transition was claimed
-- Returns 1, or 0 if it is another node's by now, or told.
--include presence/transition
local node, stream, seq, kind = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
if not redis.call('ZSCORE', nodes, node) then return 0 end -- reaped: nobody would take it from there
local holder, claimed, claimed_in = unpack(redis.call('HMGET', claim(stream), 'node', 'seq', 'epoch'))
if holder == node and claimed == ARGV[3] then return 1 end
if not (holder == ARGV[6] and claimed == ARGV[3]) then
  local newest = tonumber(claimed or 0)
  -- What an old dump says of this very transition is as old as the dump.
  if ARGV[7] == epoch or newest > seq or (newest == seq and claimed_in == epoch) then return 0 end
  -- Redis forgot the claim, and perhaps the transition.
  if seq_of(stream) < seq then set_state(stream, seq, kind) end
  drop_up_to(stream, seq)
  redis.call('LPUSH', transitions(stream), ARGV[3] .. '|' .. kind)
end
drop_claim(stream)
claim_head(stream, node, ARGV[5])
return 1
