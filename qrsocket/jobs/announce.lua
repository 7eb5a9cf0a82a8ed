#!lua flags=allow-oom
-- What a worker says of itself: its tasks, and its queues for as long as it lives.
-- ARGV[2]  ms until it is taken for dead    ARGV[3]  number of queues    ARGV[4...]  their names, then for each task its
-- name and how it is told of: '' for not at all, or JSON of title and only (the states to tell)
--include jobs/job
local now, count = clock(), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', consumed, '-inf', digits(now))
for i = 4, 3 + count do
  redis.call('ZADD', consumed, 'GT', digits(now + ARGV[2]), ARGV[i])
end
for i = 4 + count, #ARGV, 2 do
  redis.call('HSET', tasks, ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIRE', tasks, DAY_MS)
redis.call('PEXPIRE', consumed, ARGV[2])
return 1
