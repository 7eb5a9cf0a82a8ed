-- The jobs of everybody, without results: those that have not ended, the ones that something is decided about first being
-- first, and then the newest that have ended.
-- ARGV[2]  most jobs that are looked at of each    ARGV[3]  state, or '' for all    ARGV[4]  most jobs to return
-- Returns {{owner, JSON of the job}...}
--include jobs/job
local answer, most_seen, wanted, most = {}, tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
for _, members in ipairs({redis.call('ZRANGE', due, 0, most_seen - 1), redis.call('ZREVRANGE', ended, 0, most_seen - 1)}) do
  for _, member in ipairs(members) do
    if #answer == most then return answer end
    local owner, id = split_member(member)
    local state = redis.call('HGET', record(owner, id), 'state')
    if state and (wanted == '' or state == wanted) then
      local job = read_job(owner, id)
      job.result, job.omitted = nil, nil
      answer[#answer + 1] = {owner, shown(job)}
    end
  end
end
return answer
