-- ARGV[2]  owner    ARGV[3]  id of one job, or '' for all
-- Returns the JSON of each that has not ended, and of as many others as make it 100, the newest first. Of older ones
-- large results are left out.
local owner, answer, size = ARGV[2], {}, 0

if ARGV[3] ~= '' then
  local job = read_job(owner, ARGV[3])
  return job and {shown(job)} or {}
end

local since = clock() - terms.job_ms
local function add(id)
  local job = read_job(owner, id)
  if not job then
    redis.call('ZREM', jobs(owner), id)
  elseif not job.ended_at or #answer < MOST_LISTED and tonumber(job.ended_at) > since then
    size = size + #(job.result or '')
    if job.result and size > MOST_LISTED_BYTES then job.result, job.omitted = nil, 'listed' end
    answer[#answer + 1] = shown(job)
  end
end

for _, id in ipairs(redis.call('ZREVRANGE', jobs(owner), 0, -1)) do
  add(id)
end
return answer
