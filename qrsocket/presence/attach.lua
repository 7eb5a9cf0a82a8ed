#!lua flags=allow-oom
-- Say how many open connections of an audience a node has now; on every connect and disconnect.
-- The count is absolute, so that doing it twice changes nothing.
-- ARGV[1]  node    ARGV[2]  audience    ARGV[3]  count
-- ARGV[4]  most connections on all nodes together    ARGV[5]  offline grace in ms
-- Returns {'OK', edge...}; {'FENCED'} if the node's lease has ended: its routes are gone or going;
-- {'LIMIT'} if there are too many, and then nothing has changed.
local node, audience, count = ARGV[1], ARGV[2], tonumber(ARGV[3])
local lease = redis.call('ZSCORE', nodes, node)
if not lease or tonumber(lease) <= clock() then return {'FENCED'} end

local before, elsewhere = 0, 0
local counts = redis.call('HGETALL', route(audience))
for i = 1, #counts, 2 do
  if counts[i] == node then before = tonumber(counts[i + 1]) else elsewhere = elsewhere + counts[i + 1] end
end
if count > before and elsewhere + count > tonumber(ARGV[4]) then return {'LIMIT'} end

if count > 0 then
  redis.call('HSET', route(audience), node, count)
  redis.call('SADD', members(node), audience)
else
  redis.call('HDEL', route(audience), node)
  redis.call('SREM', members(node), audience)
end
local edge = settle(audience, tonumber(ARGV[5]))
return edge and {'OK', edge} or {'OK'}
