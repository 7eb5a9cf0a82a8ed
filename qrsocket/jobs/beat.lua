#!lua flags=allow-oom
-- Renew the leases of runs, and tell how far they are.
-- ARGV[2...]  for each run its owner, id, token, and the JSON of its newest progress (done, total, message) or ''
-- Returns for each run OK; CANCEL: its owner wants it to stop; STALE: another run of the job counts; UNKNOWN: Redis
-- forgot the job.
--include jobs/job
local words = {}
for i = 2, #ARGV, 4 do
  local job = read_job(ARGV[i], ARGV[i + 1])
  if not job then
    words[#words + 1] = 'UNKNOWN'
  elseif job.run ~= ARGV[i + 2] or is_final(job) then
    words[#words + 1] = 'STALE'
  else
    if ARGV[i + 3] ~= '' then
      local progress = cjson.decode(ARGV[i + 3])
      change(job, {done = progress.done or false, total = progress.total or false, message = progress.message or false})
    end
    decide_in(job, terms.lease_ms)
    if job.state ~= 'started' then -- it was taken for dead
      enter(job, 'started')
    elseif ARGV[i + 3] ~= '' then
      tell(job, false)
    end
    words[#words + 1] = job.cancel and 'CANCEL' or 'OK'
  end
end
return words
