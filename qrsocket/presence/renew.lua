#!lua flags=allow-oom
-- Renew a node's lease, and show it on its own channel that Redis still reaches it.
-- ARGV[1]  node    ARGV[2]  lease in ms
-- Returns 'OK', or 'FENCED' if the node was given up: it must come back under a new name, never be resurrected, since
-- others may have told already that its users are gone.
local node = ARGV[1]
if not redis.call('ZSCORE', nodes, node) then return 'FENCED' end
redis.call('ZADD', nodes, clock() + ARGV[2], node)
redis.call('PUBLISH', channel(node), 'h\t' .. (redis.call('HGET', frames, node) or '0') .. '\t\n')
return 'OK'
