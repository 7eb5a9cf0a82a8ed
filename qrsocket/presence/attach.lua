#!lua flags=allow-oom
-- Say how many open connections of an audience a node has now; on every connect and disconnect.
-- The count is absolute, so that doing it twice changes nothing.
-- ARGV[1]  node    ARGV[2]  audience    ARGV[3]  count
-- ARGV[4]  most connections on all nodes together    ARGV[5]  offline grace in ms
-- ARGV[6], ARGV[7]  number of the last edge that the node knows of, or 0, and 'online' or 'offline'
-- ARGV[8], ARGV[9]  likewise of the last one that the node has told
-- ARGV[10], ARGV[11]  epoch and offset that a client comes back with, or ''
-- Returns {'OK', {seq, online, told_seq, told}, page of what was missed, edge or nothing}; {'FENCED'} if the node was
-- given up: its routes are gone or going; {'LIMIT'} if there are too many, and then nothing has changed.
local node, audience, count = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not redis.call('ZSCORE', nodes, node) then return {'FENCED'} end

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

local seq, edge = tonumber(ARGV[6]), nil
if seq > 0 then edge = restore(audience, seq, ARGV[7], tonumber(ARGV[8]), ARGV[9], node) end
local page
if count == 0 then
  page = {epoch, '0', '0', 1}
elseif ARGV[10] == '' then
  local top = digits(top_of(audience))
  page = {epoch, top, top, 1}
else
  page = missed(audience, ARGV[10], tonumber(ARGV[11]))
end
edge = settle(audience, tonumber(ARGV[5]), node) or edge
local last = redis.call('HMGET', state(audience), 'seq', 'online', 'told_seq', 'told')
for i = 1, 4 do last[i] = last[i] or '0' end
return {'OK', last, page, edge}
