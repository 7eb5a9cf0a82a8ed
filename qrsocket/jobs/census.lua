-- Workers, queues, and jobs by state. To ask leaves nothing behind: it includes nothing that writes.
-- ARGV[1]  most jobs that are looked at, of those that have not ended and of those that have
-- Returns {{worker, ms until it is taken for dead, what it says of itself}...}, {{queue, jobs that wait in it,
-- seconds since the first of them does}...}, {consumed queue...}, {state, how many...} of the jobs that were looked at, and
-- how many others have not ended.
--include jobs/keys
local now, most = clock(), tonumber(ARGV[1])
local seen = {}
local flat = redis.call('HGETALL', workers)
for i = 1, #flat, 2 do
  local until_ms, said = string.match(flat[i + 1], '^(%d+) (.*)$')
  if tonumber(until_ms) > now then seen[#seen + 1] = {flat[i], tonumber(until_ms) - now, said} end
end

local waits = {}
for _, queue in ipairs(redis.call('SMEMBERS', lines)) do
  local first = redis.call('ZRANGE', line(queue), 0, 0, 'WITHSCORES')
  if first[1] then
    waits[#waits + 1] = {queue, redis.call('ZCARD', line(queue)), math.floor((now - first[2]) / 1000)}
  end
end

local counts = {}
for _, members in ipairs({redis.call('ZRANGE', due, 0, most - 1), redis.call('ZREVRANGE', ended, 0, most - 1)}) do
  for _, member in ipairs(members) do
    local state = redis.call('HGET', record(split_member(member)), 'state')
    if state then counts[state] = (counts[state] or 0) + 1 end
  end
end
local states = {}
for state, count in pairs(counts) do
  states[#states + 1] = state
  states[#states + 1] = count
end
local consumed_now = redis.call('ZRANGEBYSCORE', consumed, digits(now), '+inf')
return {seen, waits, consumed_now, states, math.max(0, redis.call('ZCARD', due) - most)}
