#!lua flags=allow-oom
-- Returns the audiences that some node has open connections of, in no order; some more than once.
local audiences = {}
for _, node in ipairs(redis.call('ZRANGE', nodes, 0, -1)) do
  for _, audience in ipairs(redis.call('SMEMBERS', members(node))) do audiences[#audiences + 1] = audience end
end
return audiences
