-- What was sent to an audience, and where a client is in it. Comes after epoch.lua.
-- An offset counts the messages of an audience. It begins with the clock and not with 0, so that it is a new one after
-- Redis forgot: above what was given out before, as long as that was under 1 000 a second since.
local PAGE, PAGE_BYTES, STEP = 50, 524288, 5
local FORGOTTEN_MS = 300000 -- a position that no connection has asked for yet

local function begin_offsets(audience)
  local last = redis.call('XREVRANGE', stream(audience), '+', '-', 'COUNT', 1)[1]
  local top = math.max(clock(), since, last and tonumber(string.match(last[1], '^%d+')) or 0)
  redis.call('SET', position(audience), digits(top), 'PX', FORGOTTEN_MS)
  return top
end

-- The newest offset of an audience.
local function top_of(audience)
  local top = tonumber(redis.call('GET', position(audience)) or 0)
  if top < since then return begin_offsets(audience) end
  return top
end

-- Keep a message, and return its offset.
local function append(audience, kind, payload, most, keep_ms)
  local offset = redis.call('INCR', position(audience))
  if offset <= since then offset = begin_offsets(audience) + 1; redis.call('INCR', position(audience)) end
  redis.call('XADD', stream(audience), 'MAXLEN', '~', most, digits(offset) .. '-0', 'k', kind, 'p', payload)
  redis.call('PEXPIRE', stream(audience), keep_ms)
  return digits(offset)
end

-- One page of what came after a position.
-- Returns {epoch, newest offset, offset that this page reaches, 1 if nothing is missing before or in it,
-- {offset, kind, payload}...}.
local function missed(audience, known_epoch, known_offset)
  local top, from, is_whole = top_of(audience), known_offset, known_epoch == epoch
  -- Of another epoch: what is kept of it and of this one is new, but for what the client has seen.
  if not is_whole then from = math.min(from, since - 1) end
  if from > top then from, is_whole = top, false end -- nobody was ever given such an offset

  local page, size, reached, more = {}, 0, from, from < top
  while more do
    local after = '(' .. digits(reached) .. '-0'
    local entries = redis.call('XRANGE', stream(audience), after, '+', 'COUNT', STEP) -- few, since each may be large
    if #entries < STEP then reached, more = top, false end
    for _, entry in ipairs(entries) do
      local offset, fields = tonumber(string.match(entry[1], '^%d+')), entry[2]
      page[#page + 1] = {digits(offset), fields[2], fields[4]}
      size = size + #fields[4]
      if more then reached = offset end
      if #page == PAGE or size >= PAGE_BYTES then reached, more = offset, false break end
    end
  end
  if from < top then is_whole = is_whole and page[1] ~= nil and tonumber(page[1][1]) == from + 1 end
  return {epoch, digits(top), digits(reached), is_whole and 1 or 0, unpack(page)}
end
