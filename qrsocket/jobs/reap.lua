#!lua flags=allow-oom
-- Decide about jobs of which nothing was heard in time, and tell who waits where in line. Any process may call it.
-- ARGV[2]  most jobs in this call
-- Returns {more, owner, job, owner, job, …}: 1 if another call has work to do, otherwise 0; and the jobs that were decided
-- about, as JSON.
--include jobs/job
local now, batch = clock(), tonumber(ARGV[2])
local beat = redis.call('HGET', server, 'jobs_beat')
redis.call('HSET', server, 'jobs_beat', digits(now))
if not beat or now - beat > terms.lease_ms / 2 then
  -- Nobody could renew for so long: that was Redis' fault. Every run gets a lease once more.
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', digits(now + terms.lease_ms))) do
    redis.call('ZADD', due, digits(now + terms.lease_ms), member)
  end
  return {0}
end

local function decide(job)
  if job.state == 'started' then
    if job.cancel then return finish(job, 'cancelled', {}) end
    if job.is_late ~= '1' then return finish(job, 'lost', {}) end
    enter(job, 'requeued')
    decide_in(job, tonumber(job.window_ms))
  elseif job.expires then
    finish(job, 'cancelled', {reason = 'expired'})
  else
    finish(job, 'lost', {})
  end
end

local members = redis.call('ZRANGEBYSCORE', due, '-inf', digits(now), 'LIMIT', 0, batch)
local decided = {#members == batch and 1 or 0}
for _, member in ipairs(members) do
  local job = read_job(split_member(member))
  if job then
    decide(job)
    decided[#decided + 1], decided[#decided + 2] = job.owner, shown(job)
  else
    redis.call('ZREM', due, member)
  end
end

-- Once a second, for those who are about to have their turn: the others learn of it when they come closer.
local LINE_MS, MOST_IN_LINE = 1000, 100
if now - (redis.call('HGET', server, 'lines_at') or 0) >= LINE_MS then
  redis.call('HSET', server, 'lines_at', digits(now))
  for _, queue in ipairs(redis.call('SMEMBERS', lines)) do
    local waiting = redis.call('ZRANGE', line(queue), 0, MOST_IN_LINE - 1, 'WITHSCORES')
    if #waiting == 0 then redis.call('SREM', lines, queue) end
    for i = 1, #waiting, 2 do
      local place, job = (i - 1) / 2, read_job(split_member(waiting[i]))
      if not job or not WAITS[job.state] then
        redis.call('ZREM', line(queue), waiting[i])
      elseif now - waiting[i + 1] >= LINE_MS and tonumber(job.place) ~= place then
        change(job, {place = place, state = 'waiting'})
        tell(job, false)
      end
    end
  end
end
return decided
