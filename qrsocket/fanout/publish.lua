-- Keep a message for each of its audiences, and send it to every node that has open connections of them: one frame a
-- node.
-- ARGV[1]  kind    ARGV[2]  message id    ARGV[3]  payload    ARGV[4]  ms that the id is remembered
-- ARGV[5]  messages kept of an audience    ARGV[6]  ms that they are kept    ARGV[7...]  audiences
-- Returns {connections, node...} that it was routed to; for an id seen before, what was returned then, and nothing is
-- sent.
local kind, id, payload = ARGV[1], ARGV[2], ARGV[3]
local seen = redis.call('GET', sent(id))
if seen then return cjson.decode(seen) end

local audiences, offsets = {}, {}
for i = 7, #ARGV do
  audiences[i - 6], offsets[i - 6] = ARGV[i], append(ARGV[i], kind, payload, ARGV[5], ARGV[6])
end
local reply = deliver(kind, id, payload, audiences, offsets)
redis.call('SET', sent(id), cjson.encode(reply), 'PX', ARGV[4])
return reply
