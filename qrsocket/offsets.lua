-- An offset counts the messages of a stream. It begins with the clock and not with 0, so that it is a new one after
-- Redis forgot: above what was given out before, as long as that was under 1 000 a second since. Comes after epoch.lua.
local FORGOTTEN_MS = 300000 -- a position that no connection has asked for yet

local function begin_offsets(position_key, history_key)
  -- The id that Redis gives is not below the last one. To read that, who only sends would have to be allowed to read
  -- everybody's messages.
  local id, last = redis.call('XADD', history_key, 'NOMKSTREAM', '*', '', ''), 0
  if id then
    redis.call('XDEL', history_key, id)
    last = tonumber(string.match(id, '^%d+'))
  end
  local top = math.max(clock(), since, last)
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
