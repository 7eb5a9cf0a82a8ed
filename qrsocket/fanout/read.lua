#!lua flags=allow-oom
-- ARGV[1]  audience    ARGV[2], ARGV[3]  epoch and offset of the last message that was seen
-- Returns a page of what came after it.
return missed(ARGV[1], ARGV[2], tonumber(ARGV[3]))
