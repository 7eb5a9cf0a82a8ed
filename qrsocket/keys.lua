-- The key names of keys.py, for scripts.
-- KEYS[1] is what all of them begin with: one hash tag, so any of them may be touched (Redis Cluster wants one key to
-- find the slot by).
local base = KEYS[1]
local nodes, reaping, grace = base .. 'nodes', base .. 'reaping', base .. 'grace'
local frames, server = base .. 'frames', base .. 'server'
local function members(node) return base .. 'node:' .. node .. ':members' end
local function claims(node) return base .. 'node:' .. node .. ':claims' end
local function route(audience) return base .. 'route:' .. audience end
local function state(audience) return base .. 'state:' .. audience end
local function edges(audience) return base .. 'edges:' .. audience end
local function claim(audience) return base .. 'claim:' .. audience end
local function position(audience) return base .. 'position:' .. audience end
local function stream(audience) return base .. 'stream:' .. audience end
local function sent(message_id) return base .. 'sent:' .. message_id end
local function channel(node) return base .. 'channel:' .. node end

-- Unix time in ms. Only Redis' clock counts: those of the nodes differ.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A number as Redis keeps it: Lua would write a clock of 14 digits as 1.7e+13.
local function digits(number) return string.format('%.0f', number) end

local function is_user(audience) return string.sub(audience, 1, 2) == 'u:' end
