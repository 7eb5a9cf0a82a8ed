-- Who waits, and what is consumed. To ask leaves nothing behind: it includes nothing that writes.
-- Returns {{queue, number of jobs that wait in it, seconds since the first of them does}...} and {consumed queue...}.
--include jobs/keys
local waits, now = {}, clock()
for _, queue in ipairs(redis.call('SMEMBERS', lines)) do
  local first = redis.call('ZRANGE', line(queue), 0, 0, 'WITHSCORES')
  if first[1] then
    waits[#waits + 1] = {queue, redis.call('ZCARD', line(queue)), math.floor((now - first[2]) / 1000)}
  end
end
return {waits, redis.call('ZRANGEBYSCORE', consumed, digits(now), '+inf')}
