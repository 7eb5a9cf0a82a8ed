-- An envelope for a node, on its channel: a head, whose words are between tabs, and the payload.
-- rest  options, then each stream that it is for and the offset there
-- Returns how many listened.
--include keys
--include epoch
local function send(node, kind, id, rest, payload)
  local head = kind .. '\t' .. redis.call('HINCRBY', envelopes, node, 1) .. '\t' .. epoch .. '\t' .. id .. '\t' .. rest
  return redis.call('PUBLISH', channel(node), head .. '\n' .. payload)
end
