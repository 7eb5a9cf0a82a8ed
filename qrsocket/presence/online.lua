#!lua flags=allow-oom
-- ARGV  streams
-- Returns for each of them 1 if it has an open connection anywhere, else 0.
--include keys
local answer = {}
for i, stream in ipairs(ARGV) do answer[i] = redis.call('EXISTS', route(stream)) end
return answer
