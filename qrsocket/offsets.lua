-- An offset counts the messages of a stream. It begins with the clock and not with 0, so that it is a new one after
-- Redis forgot: above what was given out before, as long as that was under 1 000 a second since.
--include epoch
local function begin_offsets(position_key, history_key)
  -- The id that Redis gives is the clock in ms, and not below the last one. To read that, who only sends would have to be
  -- allowed to read everybody's messages.
  local id, top = redis.call('XADD', history_key, 'NOMKSTREAM', '*', '', ''), since
  if id then
    redis.call('XDEL', history_key, id)
    top = math.max(top, tonumber(string.match(id, '^%d+')))
  else
    local time = redis.call('TIME')
    top = math.max(top, time[1] * 1000 + math.floor(time[2] / 1000))
  end
  redis.call('SET', position_key, top, 'PX', 300000) -- that no connection has asked for it yet
  return top
end
