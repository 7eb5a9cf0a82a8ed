-- What every script needs: few names, since to define each costs time in every run.
-- KEYS[1] is what all keys begin with: one hash tag, so any of them may be touched (Redis Cluster wants one key to find
-- the slot by).
local base = KEYS[1]
local server, envelopes = base .. 'server', base .. 'envelopes'

-- Unix time in ms. Only Redis' clock counts: those of the nodes differ.
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A number as Redis keeps it: Lua would write a clock of 14 digits as 1.7e+13.
local function digits(number) return string.format('%.0f', number) end
