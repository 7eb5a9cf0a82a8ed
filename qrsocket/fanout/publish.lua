-- Keep a message for each of its audiences, and send it to every node that has open connections of them: one frame a
-- node.
-- ARGV[1]  kind    ARGV[2]  message id    ARGV[3]  payload    ARGV[4]  ms that the id is remembered
-- ARGV[5]  messages kept of an audience    ARGV[6]  ms that they are kept    ARGV[7...]  audiences
-- Returns {connections, node...} that it was routed to; for an id seen before, what was returned then, and nothing is
-- sent.
local kind, id, payload = ARGV[1], ARGV[2], ARGV[3]
local seen = redis.call('GET', sent(id))
if seen then return cjson.decode(seen) end

local most, keep_ms = ARGV[5], ARGV[6]
local recipients, counts = {}, {} -- by node
for i = 7, #ARGV do
  local recipient = ARGV[i] .. '\t' .. append(ARGV[i], kind, payload, most, keep_ms)
  local at = redis.call('HGETALL', route(ARGV[i]))
  for j = 1, #at, 2 do
    local node = at[j]
    if not recipients[node] then recipients[node], counts[node] = {}, 0 end
    recipients[node][#recipients[node] + 1] = recipient
    counts[node] = counts[node] + at[j + 1]
  end
end

local reply = {0}
for node, audiences in pairs(recipients) do
  local number = redis.call('HINCRBY', frames, node, 1)
  local head = kind .. '\t' .. number .. '\t' .. epoch .. '\t' .. id .. '\t' .. table.concat(audiences, '\t')
  -- A node that does not listen has died and is not reaped yet, or has lost its subscription and will read it later.
  if redis.call('PUBLISH', channel(node), head .. '\n' .. payload) > 0 then
    reply[1] = reply[1] + counts[node]
    reply[#reply + 1] = node
  end
end
redis.call('SET', sent(id), cjson.encode(reply), 'PX', ARGV[4])
return reply
