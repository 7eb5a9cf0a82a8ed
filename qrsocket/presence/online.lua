#!lua flags=allow-oom
-- ARGV  streams
-- Returns for each of them 1 if it has an open connection anywhere, else 0.
local answer = {}
for i, stream in ipairs(ARGV) do answer[i] = redis.call('EXISTS', route(stream)) end
return answer
