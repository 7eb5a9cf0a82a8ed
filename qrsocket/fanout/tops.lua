#!lua flags=allow-oom
-- ARGV  streams
-- Returns {epoch, newest offset...} of each.
--include history
local answer = {epoch}
for i, stream in ipairs(ARGV) do answer[i + 1] = digits(top_of(stream)) end
return answer
