-- Looks through all jobs that have not ended and the newest that have: for people who have an id and nothing else.
-- ARGV[1]  id
-- Returns the owners of the jobs with this id: one, unless somebody has chosen ids.
--include jobs/keys
local owners, start = {}, ARGV[1] .. ' '
for _, key in ipairs({due, ended}) do
  for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do
    if string.sub(member, 1, #start) == start then owners[#owners + 1] = string.sub(member, #start + 1) end
  end
end
return owners
