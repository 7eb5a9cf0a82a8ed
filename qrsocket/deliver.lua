-- Send one frame to every node that has open connections of its recipients. Comes after epoch.lua.
-- audiences, offsets  the recipients, each with the offset of the message among its own, or 0 if it is not kept
-- Returns {connections, node...} that it was routed to.
local function deliver(kind, id, payload, audiences, offsets)
  local recipients, counts = {}, {} -- by node
  for i, audience in ipairs(audiences) do
    local recipient = audience .. '\t' .. offsets[i]
    local at = redis.call('HGETALL', route(audience))
    for j = 1, #at, 2 do
      local node = at[j]
      if not recipients[node] then recipients[node], counts[node] = {}, 0 end
      recipients[node][#recipients[node] + 1] = recipient
      counts[node] = counts[node] + at[j + 1]
    end
  end

  local reply = {0}
  for node, those in pairs(recipients) do
    local number = redis.call('HINCRBY', frames, node, 1)
    local head = kind .. '\t' .. number .. '\t' .. epoch .. '\t' .. id .. '\t' .. table.concat(those, '\t')
    -- A node that does not listen has died and is not reaped yet, or has lost its subscription and will read it later.
    if redis.call('PUBLISH', channel(node), head .. '\n' .. payload) > 0 then
      reply[1] = reply[1] + counts[node]
      reply[#reply + 1] = node
    end
  end
  return reply
end
