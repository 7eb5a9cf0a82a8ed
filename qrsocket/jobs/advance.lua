-- The state machine of a job: one event, and what it means to what is known.
-- ARGV[2]  event    ARGV[3]  owner (a stream)    ARGV[4]  id    ARGV[5]  JSON of what is said with it:
--   of every event  id, task, title, only (the states to tell, each between spaces), turn (grows with each retry and
--                   replacement), attempt (from 1); if_told: the task is not watched, and is told of only if it was
--   queued by who does not have the task  by_name: if workers say that it is not watched, it is not told of
--   queued          queue, delay_ms, expires_ms
--   started         run (a token of this run), is_late (acknowledged when it is done), window_ms (in which it is
--                   delivered again), worker; fence, chunks, done, total and message of a run that Redis forgot
--   ended           state, run; result (JSON), or why it is omitted, error, reason, done, total, message; from who knows only the message, no
--                   run but the worker that had it, if it had
--   cancel          nothing: the owner wants it to stop
--   give_up         nothing: somebody knows that no worker will ever say how it ended. One that does is believed
-- Returns {what became of it, fence, JSON of the job}. OK; OVER: it has ended, nothing changes; STALE: a later run or
-- retry counts; UNKNOWN.
--include jobs/job
local event, owner, id, said = ARGV[2], ARGV[3], ARGV[4], cjson.decode(ARGV[5])
local job = read_job(owner, id)
local is_over = job and is_final(job)

local function reply(word) return {word, tonumber(job and job.fence or 0), job and shown(job)} end

local events = {}

-- Take for the first report of a job what its task says, or the workers say of that. Returns whether it is told of.
local function is_told()
  if said.if_told and not said.fence then
    redis.call('HSETNX', tasks, said.task, '') -- for the report that it was queued, if that comes later
    redis.call('PEXPIRE', tasks, DAY_MS, 'NX')
    return false
  end
  local known = said.by_name and redis.call('HGET', tasks, said.task)
  if known == '' then return false end
  if known then
    local task = cjson.decode(known)
    said.title, said.only = task.title, task.only
  end
  return true
end

function events.queued()
  if job then
    if is_over then return reply('OVER') end
    if said.turn <= tonumber(job.turn) then return reply('STALE') end -- the worker was quicker than this report
    local state = said.attempt > tonumber(job.attempt) and 'retrying' or 'requeued'
    change(job, {turn = said.turn, attempt = said.attempt, run = false})
    if job.cancel then
      finish(job, 'cancelled', {})
      return reply('OK')
    end
    enter(job, state)
  elseif is_told() then
    job = new_job(owner, id, said)
    enter(job, 'queued')
  else
    return reply('UNKNOWN')
  end
  decide_in(job, said.expires_ms or said.delay_ms + terms.wait_ms)
  if said.expires_ms then change(job, {expires = 1}) end
  if said.queue and said.delay_ms == 0 then
    change(job, {queue = said.queue})
    redis.call('ZADD', line(said.queue), digits(clock()), member_of(owner, id))
    redis.call('SADD', lines, said.queue)
  end
  return reply('OK')
end

function events.started()
  if job and job.run == said.run then return reply('OK') end -- said again, since the answer was lost
  if is_over then return reply('OVER') end
  if job and said.turn < tonumber(job.turn) then return reply('STALE') end
  local is_forgotten = not job and said.fence
  if not job then
    if not is_told() then return reply('UNKNOWN') end
    job = new_job(owner, id, said)
    if not is_forgotten then tell(job, true) end -- the worker was quicker than the report that it was queued
  end
  if job.cancel then
    finish(job, 'cancelled', {})
    return reply('OVER')
  end
  if job.state == 'started' then -- and nobody has said how that ended
    enter(job, said.attempt > tonumber(job.attempt) and 'retrying' or 'requeued')
  end
  leave_line(job)
  if job.ended_at then go_on(job) end
  change(job, {
    title = said.title or job.title or false, only = said.only or job.only or false, run = said.run, fence = said.fence or math.max(clock(), tonumber(job.fence or 0) + 1), turn = said.turn,
    attempt = said.attempt, is_late = said.is_late and 1 or 0, window_ms = said.window_ms,
    worker = said.worker or false, started_at = clock(), state = 'started', expires = false,
    done = said.done or false, total = said.total or false, message = said.message or false,
  })
  if is_forgotten then change(job, {chunks = said.chunks, seq = clock()}) end -- above what the owner was told
  decide_in(job, terms.lease_ms)
  if not is_forgotten then tell(job, true) end -- of one that Redis forgot, the owner knows
  return reply('OK')
end

-- Whether what is said to have ended is what the job is in.
local function is_current()
  if said.run and job.run then return said.run == job.run end
  if said.turn ~= tonumber(job.turn) then return false end
  -- A message that is thrown away may be another delivery of what runs; who lost a process may not be who has it now.
  return WAITS[job.state] or said.worker and said.worker == job.worker
end

function events.ended()
  if is_over then return reply('OVER') end
  if job then
    if not is_current() then return reply('STALE') end
    if said.run and not job.run then enter(job, 'started') end -- its start was not heard of
  elseif is_told() then
    job = new_job(owner, id, said)
    if not said.run then tell(job, true) end -- thrown away before the report that it was queued
  else
    return reply('UNKNOWN')
  end
  local progress = {done = said.done, total = said.total, message = said.message}
  if said.state == 'requeued' then
    change(job, {run = false})
    enter(job, 'requeued')
    decide_in(job, said.window_ms)
  else
    change(job, progress)
    finish(job, said.state, {
      result = said.result or false, omitted = said.omitted or false, error = said.error or false,
      reason = said.reason or false,
    })
  end
  return reply('OK')
end

function events.cancel()
  if not job then return reply('UNKNOWN') end
  if OVER[job.state] then return reply('OVER') end
  if WAITS[job.state] then
    finish(job, 'cancelled', {})
  elseif not job.cancel then
    change(job, {cancel = 1})
    tell(job, false)
  end
  return reply('OK')
end

function events.give_up()
  if not job then return reply('UNKNOWN') end
  if OVER[job.state] then return reply('OVER') end
  finish(job, 'lost', {})
  return reply('OK')
end

return events[event]()
