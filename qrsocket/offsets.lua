-- An offset counts the messages of a stream. It begins with the clock and not with 0, so that it is a new one after
-- Redis forgot: above what was given out before, as long as that was under 1 000 a second since. Comes after epoch.lua.
local FORGOTTEN_MS = 300000 -- a position that no connection has asked for yet

local function begin_offsets(position_key, history_key)
  local last = redis.call('XREVRANGE', history_key, '+', '-', 'COUNT', 1)[1]
  local top = math.max(clock(), since, last and tonumber(string.match(last[1], '^%d+')) or 0)
  redis.call('SET', position_key, digits(top), 'PX', FORGOTTEN_MS)
  return top
end

-- Count one more message, and return its offset.
local function next_offset(position_key, history_key)
  local offset = redis.call('INCR', position_key)
  if offset <= since then
    begin_offsets(position_key, history_key)
    offset = redis.call('INCR', position_key)
  end
  return digits(offset)
end
