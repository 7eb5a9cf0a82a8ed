-- The key names of keys.py that have to do with jobs, for their scripts: to define them costs the others time.
--include base
local due, ended, lines = base .. 'due', base .. 'ended', base .. 'lines'
-- What workers have announced: how each of their tasks is told of, which queues they consume for how long, and of
-- themselves.
local tasks, consumed, workers = base .. 'tasks', base .. 'consumed', base .. 'workers'
-- An id has no space in it. (A job is found by its owner and its id: an id alone opens nothing.)
local function member_of(owner, id) return id .. ' ' .. owner end
local function split_member(member)
  local id, owner = string.match(member, '^(%S+) (.+)$')
  return owner, id
end
local function record(owner, id) return base .. 'job:' .. member_of(owner, id) end
local function chunks(owner, id) return base .. 'chunks:' .. member_of(owner, id) end
local function jobs(owner) return base .. 'jobs:' .. owner end
local function line(queue) return base .. 'line:' .. queue end
