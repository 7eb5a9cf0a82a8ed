#!lua flags=allow-oom
-- Become a node: from here on its routes count. It must be subscribed to its channel already.
-- ARGV[1]  node    ARGV[2]  lease in ms
redis.call('ZADD', nodes, clock() + ARGV[2], ARGV[1])
return 'OK'
