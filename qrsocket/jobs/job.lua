-- A job: what is known of it, when something is decided about it, and how its owner is told.
-- ARGV[1]  JSON of the terms: lease_ms of a run, job_ms that an ended job is kept, wait_ms that one may wait for a
--          worker
--include jobs/keys
--include history
--include node
local terms = cjson.decode(ARGV[1])
local DAY_MS = 86400000 -- for what nobody is left to decide about, and nobody asks for
local MOST_LISTED, MOST_OF_ONE = 100, 500
local MOST_ENDED = 1000 -- of everybody
local MOST_LISTED_BYTES = 262144 -- a page gets them in one frame
local OVER = {succeeded = true, failed = true, timeout = true, cancelled = true, lost = true}
-- In these a job waits for a worker.
local WAITS = {queued = true, waiting = true, retrying = true, requeued = true}

-- Whether nothing more can come of a job. One that was taken for lost may go on, if its worker was only frozen.
local function is_final(job) return OVER[job.state] and job.state ~= 'lost' end

-- What is known of a job, by name; nil if nothing is.
local function read_job(owner, id)
  local flat = redis.call('HGETALL', record(owner, id))
  if #flat == 0 then return nil end
  local job = {owner = owner, key = id}
  for i = 1, #flat, 2 do job[flat[i]] = flat[i + 1] end
  return job
end

-- Set fields of a job; false removes one.
local function change(job, fields)
  local key = record(job.owner, job.key)
  for name, value in pairs(fields) do
    if value == false then
      redis.call('HDEL', key, name)
      job[name] = nil
    else
      local is_whole = type(value) == 'number' and value == math.floor(value)
      job[name] = is_whole and digits(value) or tostring(value)
      redis.call('HSET', key, name, job[name])
    end
  end
end

-- Decide about a job in so many ms, unless something else happens before.
local function decide_in(job, ms)
  redis.call('ZADD', due, digits(clock() + ms), member_of(job.owner, job.key))
  redis.call('PEXPIRE', record(job.owner, job.key), digits(ms + DAY_MS))
  redis.call('PEXPIRE', jobs(job.owner), digits(ms + DAY_MS), 'GT')
end

local function leave_line(job)
  if job.queue then redis.call('ZREM', line(job.queue), member_of(job.owner, job.key)) end
  change(job, {place = false})
end

local function new_job(owner, id, about)
  local job = {owner = owner, key = id}
  local now = clock()
  change(job, {
    id = about.id, task = about.task, title = about.title or false, only = about.only or false,
    state = 'queued', turn = about.turn, attempt = about.attempt, queued_at = now,
  })
  redis.call('ZADD', jobs(owner), digits(now), id)
  if redis.call('ZCARD', jobs(owner)) > MOST_OF_ONE then
    for _, old in ipairs(redis.call('ZRANGE', jobs(owner), 0, MOST_LISTED - 1)) do
      local state = redis.call('HGET', record(owner, old), 'state')
      if not state or OVER[state] then redis.call('ZREM', jobs(owner), old) end
    end
  end
  redis.call('PEXPIRE', jobs(owner), DAY_MS, 'NX')
  return job
end

local function seconds(ms) return ms and tonumber(ms) / 1000 end

-- The job as its owner sees it, in JSON.
local function shown(job)
  local done, total, percent = tonumber(job.done), tonumber(job.total), cjson.null
  if job.state == 'succeeded' then
    percent = 100
  elseif done and total and total > 0 then
    percent = math.max(0, math.min(100, math.floor(100 * done / total)))
  end
  local text = cjson.encode({
    id = job.id, task = job.task, title = job.title, state = job.state, seq = tonumber(job.seq),
    attempt = tonumber(job.attempt), place = tonumber(job.place), done = done, total = total, percent = percent,
    message = job.message, cancelling = job.cancel and not OVER[job.state] or nil, error = job.error,
    reason = job.reason, result_omitted = job.omitted, chunks = tonumber(job.chunks), queued_at = seconds(job.queued_at),
    started_at = seconds(job.started_at), ended_at = seconds(job.ended_at),
  })
  if not job.result then return text end
  return string.sub(text, 1, -2) .. ',"result":' .. job.result .. '}' -- encoded already, by the worker
end

-- Send an envelope to every node that has open connections of the owner.
local function tell_nodes(job, kind, stream, offset, payload)
  for _, node in ipairs(redis.call('HKEYS', route(job.owner))) do
    send(node, kind, job.key, '\t' .. stream .. '\t' .. offset, payload)
  end
end

-- Tell the owner. States are counted: a node that has missed one reads all jobs. Of what comes in between only the
-- newest counts.
local function tell(job, is_state)
  change(job, {seq = math.max(clock(), tonumber(job.seq or 0) + 1)}) -- by the clock, lest a new Redis begins anew
  if job.only and not string.find(job.only, ' ' .. job.state .. ' ', 1, true) then return end
  local payload = '{"job":' .. shown(job) .. '}'
  if is_state then
    tell_nodes(job, 's', jobs_of(job.owner), count(jobs_of(job.owner)), payload)
  else
    tell_nodes(job, 'g', job.owner, '-', payload)
  end
end

-- A job that was taken for lost goes on.
local function go_on(job)
  change(job, {ended_at = false})
  redis.call('ZREM', ended, member_of(job.owner, job.key))
  redis.call('PEXPIRE', chunks(job.owner, job.key), DAY_MS)
end

local function enter(job, state)
  if job.ended_at and not OVER[state] then go_on(job) end
  change(job, {state = state})
  tell(job, true)
end

-- Keep in mind that a job has ended, for who asks about those of everybody.
local function note_end(job)
  redis.call('ZADD', ended, job.ended_at, member_of(job.owner, job.key))
  if redis.call('ZCARD', ended) > MOST_ENDED then
    redis.call('ZREM', ended, unpack(redis.call('ZRANGE', ended, 0, MOST_ENDED / 10 - 1)))
  end
  redis.call('PEXPIRE', ended, terms.job_ms)
end

-- The job is over. Of one that waits, the message is still on its way to a worker, who must find out then.
local function finish(job, state, fields)
  local kept_ms = math.max(terms.job_ms, WAITS[job.state] and redis.call('PTTL', record(job.owner, job.key)) or 0)
  leave_line(job)
  change(job, fields)
  change(job, {ended_at = clock(), cancel = false})
  redis.call('ZREM', due, member_of(job.owner, job.key))
  note_end(job)
  enter(job, state)
  redis.call('PEXPIRE', record(job.owner, job.key), digits(kept_ms))
  redis.call('PEXPIRE', jobs(job.owner), terms.job_ms, 'GT')
  redis.call('PEXPIRE', chunks(job.owner, job.key), terms.job_ms)
end
