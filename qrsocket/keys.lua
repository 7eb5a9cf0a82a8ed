-- The key names of keys.py, for scripts.
-- KEYS[1] is what all of them begin with: one hash tag, so any of them may be touched (Redis Cluster wants one key to
-- find the slot by).
local base = KEYS[1]
local nodes, reaping, grace, frames = base .. 'nodes', base .. 'reaping', base .. 'grace', base .. 'frames'
local function members(node) return base .. 'node:' .. node .. ':members' end
local function route(audience) return base .. 'route:' .. audience end
local function state(audience) return base .. 'state:' .. audience end
local function sent(message_id) return base .. 'sent:' .. message_id end
local function channel(node) return base .. 'channel:' .. node end

-- Unix time in ms. Only Redis' clock counts: those of the nodes differ.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
