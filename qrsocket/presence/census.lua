#!lua flags=allow-oom
-- ARGV[1]  most streams of all nodes together that are told apart    ARGV[2]  how many users to name
-- Returns {{{node, ms left of its lease, what it says of itself or ''}...}, users, topics, {stream of a user...}}; -1 for
-- both numbers if there are more streams.
--include keys
local now, told, total = clock(), {}, 0
local pairs_of_nodes = redis.call('ZRANGE', nodes, 0, -1, 'WITHSCORES')
for i = 1, #pairs_of_nodes, 2 do
  local node = pairs_of_nodes[i]
  told[#told + 1] = {node, pairs_of_nodes[i + 1] - now, redis.call('GET', figures(node)) or ''}
  total = total + redis.call('SCARD', streams(node))
end
if total > tonumber(ARGV[1]) then return {told, -1, -1, {}} end

local seen, named, users, topics = {}, {}, 0, 0
for _, node in ipairs(told) do
  for _, stream in ipairs(redis.call('SMEMBERS', streams(node[1]))) do
    if not seen[stream] then
      seen[stream] = true
      if is_user(stream) then
        users = users + 1
        if users <= tonumber(ARGV[2]) then named[users] = stream end
      elseif string.sub(stream, 1, 2) == 't:' then
        topics = topics + 1
      end
    end
  end
end
return {told, users, topics, named}
