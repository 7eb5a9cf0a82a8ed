#!lua flags=allow-oom
-- Become a node: from here on its routes count. It must be subscribed to its channel already.
-- ARGV[1]  node    ARGV[2]  lease in ms    ARGV[3]  epoch in which it was a node under another name, or ''
-- Returns the epoch.
--include keys
--include epoch
redis.call('ZADD', nodes, digits(clock() + ARGV[2]), ARGV[1])
redis.call('HSET', server, 'lease_ms', ARGV[2])
if ARGV[3] ~= '' and ARGV[3] ~= epoch then -- Redis came back empty: others are on their way, too
  redis.call('HSET', server, 'quiet_until', digits(since + ARGV[2] / 2))
end
return epoch
