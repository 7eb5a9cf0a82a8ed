-- ARGV[2]  owner    ARGV[3]  id of one job, or '' for all
-- Returns the JSON of those that have not ended, at most 200, and of as many others as make it 100, the newest first. Of
-- older ones large results are left out. A job that has had 1 000 after it is not listed.
--include jobs/job
local owner, answer, size = ARGV[2], {}, 0
local MOST_SEEN, MOST_NOT_ENDED = 1000, 200

if ARGV[3] ~= '' then
  local job = read_job(owner, ARGV[3])
  return job and {shown(job)} or {}
end

local since = clock() - terms.job_ms
local function is_listed(ended_at)
  if not ended_at then return #answer < MOST_NOT_ENDED end
  return #answer < MOST_LISTED and tonumber(ended_at) > since
end

for _, id in ipairs(redis.call('ZREVRANGE', jobs(owner), 0, MOST_SEEN - 1)) do
  -- These two first: to read and write all of a job takes far longer.
  local known, ended_at = unpack(redis.call('HMGET', record(owner, id), 'id', 'ended_at'))
  if not known then
    redis.call('ZREM', jobs(owner), id)
  elseif is_listed(ended_at) then
    local job = read_job(owner, id)
    size = size + #(job.result or '')
    if job.result and size > MOST_LISTED_BYTES then job.result, job.omitted = nil, 'listed' end
    answer[#answer + 1] = shown(job)
  end
end
return answer
