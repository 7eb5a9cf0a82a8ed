#!lua flags=allow-oom
-- End a node's lease now: whatever it still has is reaped by the others at their next renewal, and it is fenced.
-- ARGV[1]  node
--include keys
redis.call('ZREM', nodes, ARGV[1])
if redis.call('EXISTS', streams(ARGV[1]), claims(ARGV[1])) > 0 then
  redis.call('ZADD', reaping, digits(clock()), ARGV[1])
else
  redis.call('HDEL', envelopes, ARGV[1])
end
return 'OK'
