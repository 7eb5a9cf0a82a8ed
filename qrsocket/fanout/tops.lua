#!lua flags=allow-oom
-- ARGV  audiences
-- Returns {epoch, newest offset...} of each.
local answer = {epoch}
for i, audience in ipairs(ARGV) do answer[i + 1] = digits(top_of(audience)) end
return answer
