-- Keep a piece of what a job writes, and send it to its owner.
-- ARGV[2]  owner    ARGV[3]  id    ARGV[4]  token of the run    ARGV[5]  number that the run gave it, from 1
-- ARGV[6]  text    ARGV[7]  bytes that are kept
-- Returns {what became of it, number of the piece among all that the job has written}. OK; STALE: another run counts,
-- or the job is over or taken for lost; UNKNOWN.
--include jobs/job
local job = read_job(ARGV[2], ARGV[3])
if not job then return {'UNKNOWN', 0} end
if job.run ~= ARGV[4] or OVER[job.state] then return {'STALE', 0} end
if job.wrote == ARGV[4] .. ' ' .. ARGV[5] then return {'OK', tonumber(job.chunks)} end -- said again
local is_anew = ARGV[5] == '1' and job.chunks ~= nil
local number = tonumber(job.chunks or 0) + 1
change(job, {chunks = number, wrote = ARGV[4] .. ' ' .. ARGV[5]})
local key = chunks(job.owner, job.key)
if is_anew then redis.call('DEL', key) end -- the job has begun again, and writes it again
redis.call('XADD', key, number .. '-0', 't', ARGV[6], 'a', is_anew and 1 or 0)
redis.call('PEXPIRE', key, DAY_MS)
local size = (redis.call('XLEN', key) == 1 and 0 or tonumber(job.chunk_bytes or 0)) + #ARGV[6]
while size > tonumber(ARGV[7]) do
  local oldest = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
  redis.call('XDEL', key, oldest[1])
  size = size - #oldest[2][2]
end
change(job, {chunk_bytes = size})
local piece = {job = job.id, n = number, text = ARGV[6], anew = is_anew or nil}
tell_nodes(job, 'w', job.owner, '-', '{"chunk":' .. cjson.encode(piece) .. '}')
return {'OK', number}
