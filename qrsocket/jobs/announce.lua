#!lua flags=allow-oom
-- What a worker says: its tasks, and for as long as it lives its queues and what it is.
-- ARGV[2]  ms until it is taken for dead    ARGV[3]  its name    ARGV[4]  JSON of what it is    ARGV[5]  number of queues
-- ARGV[6...]  their names, then for each task its name and how it is told of: '' for not at all, or JSON of title and only
-- (the states to tell)
--include jobs/job
local now, count = clock(), tonumber(ARGV[5])
redis.call('ZREMRANGEBYSCORE', consumed, '-inf', digits(now))
for i = 6, 5 + count do
  redis.call('ZADD', consumed, 'GT', digits(now + ARGV[2]), ARGV[i])
end
local known = redis.call('HGETALL', workers)
for i = 1, #known, 2 do
  if tonumber(string.match(known[i + 1], '^%d+')) <= now then redis.call('HDEL', workers, known[i]) end
end
if ARGV[3] ~= '' then
  redis.call('HSET', workers, ARGV[3], digits(now + ARGV[2]) .. ' ' .. ARGV[4])
  redis.call('PEXPIRE', workers, ARGV[2])
end
for i = 6 + count, #ARGV, 2 do
  redis.call('HSET', tasks, ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIRE', tasks, DAY_MS)
redis.call('PEXPIRE', consumed, ARGV[2])
return 1
