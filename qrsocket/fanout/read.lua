#!lua flags=allow-oom
-- ARGV[1]  stream    ARGV[2], ARGV[3]  epoch and offset of the last message that was seen
-- Returns {epoch, page of what came after it}.
--include history
local page = missed(ARGV[1], ARGV[2], tonumber(ARGV[3]), PAGE_BYTES)
return {epoch, page}
