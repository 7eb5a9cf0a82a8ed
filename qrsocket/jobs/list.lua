-- ARGV[2]  owner    ARGV[3]  id of one job, or '' for all
-- Returns the JSON of each, the newest first. Of older ones large results are left out.
local owner, answer, size = ARGV[2], {}, 0
local ids = ARGV[3] ~= '' and {ARGV[3]} or redis.call('ZREVRANGE', jobs(owner), 0, MOST_LISTED - 1)
for _, id in ipairs(ids) do
  local job = read_job(owner, id)
  if job then
    size = size + #(job.result or '')
    if #ids > 1 and size > MOST_RESULT_BYTES then job.result = nil end
    answer[#answer + 1] = shown(job)
  else
    redis.call('ZREM', jobs(owner), id)
  end
end
return answer
