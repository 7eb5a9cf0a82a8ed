-- ARGV[2]  owner    ARGV[3]  id of one job, or '' for all
-- Returns the JSON of each, the newest first.
local owner, answer = ARGV[2], {}
local ids = ARGV[3] ~= '' and {ARGV[3]} or redis.call('ZREVRANGE', jobs(owner), 0, MOST_LISTED - 1)
for _, id in ipairs(ids) do
  local job = read_job(owner, id)
  if job then answer[#answer + 1] = shown(job) else redis.call('ZREM', jobs(owner), id) end
end
return answer
