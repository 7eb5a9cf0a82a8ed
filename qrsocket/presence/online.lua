#!lua flags=allow-oom
-- ARGV  audiences
-- Returns for each of them 1 if it has an open connection anywhere, else 0.
local answer = {}
for i, audience in ipairs(ARGV) do answer[i] = redis.call('EXISTS', route(audience)) end
return answer
