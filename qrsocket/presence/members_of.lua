#!lua flags=allow-oom
-- ARGV[1]  topic
-- Returns {epoch, number of the newest change, 1 if it may be that not all nodes have said yet who is there, members}.
--include presence/transition
local top = digits(top_of('m:' .. ARGV[1]))
return {epoch, top, clock() < quiet_until and 1 or 0, redis.call('SMEMBERS', members(ARGV[1]))}
