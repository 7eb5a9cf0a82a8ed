#!lua flags=allow-oom
-- End a node's lease now: whatever it still has is reaped by the others at their next renewal.
-- ARGV[1]  node
if redis.call('SCARD', members(ARGV[1])) > 0 then
  redis.call('ZADD', nodes, 0, ARGV[1])
else
  redis.call('ZREM', nodes, ARGV[1])
  redis.call('HDEL', frames, ARGV[1])
end
return 'OK'
