-- What was sent to a stream, and where a client is in it.
--include keys
--include offsets
local PAGE, PAGE_BYTES, STEP = 50, 524288, 5

-- The newest offset of a stream.
local function top_of(stream)
  local top = tonumber(redis.call('GET', position(stream)) or 0)
  if top < since then return begin_offsets(position(stream), history(stream)) end
  return top
end

-- Count one more message of a stream, and return its offset.
local function count(stream)
  local offset = redis.call('INCR', position(stream))
  if offset <= since then
    begin_offsets(position(stream), history(stream))
    offset = redis.call('INCR', position(stream))
  end
  return digits(offset)
end

-- One page of what came after a position.
-- Returns {newest offset, offset that this page reaches, 1 if nothing is missing before or in it,
-- {offset, kind, payload, options, signature}...}, and the bytes in it. With no room for more than one message it has one.
local function missed(stream, known_epoch, known_offset, most_bytes)
  local top, from, is_whole = top_of(stream), known_offset, known_epoch == epoch
  -- Of another epoch: what is kept of it and of this one is new, but for what the client has seen.
  if not is_whole then from = math.min(from, since - 1) end
  if from > top then from, is_whole = top, false end -- nobody was ever given such an offset

  local page, size, reached, more = {}, 0, from, from < top
  local step = most_bytes > 0 and STEP or 1 -- few, since each may be large
  while more do
    local entries = redis.call('XRANGE', history(stream), '(' .. digits(reached) .. '-0', '+', 'COUNT', step)
    if #entries < step then reached, more = top, false end
    for _, entry in ipairs(entries) do
      local offset, fields = tonumber(string.match(entry[1], '^%d+')), entry[2]
      page[#page + 1] = {digits(offset), fields[2], fields[4], fields[6], fields[8]}
      size = size + #fields[4]
      if more then reached = offset end
      if #page == PAGE or size >= most_bytes then reached, more = offset, false break end
    end
  end
  if from < top then is_whole = is_whole and page[1] ~= nil and tonumber(page[1][1]) == from + 1 end
  return {digits(top), digits(reached), is_whole and 1 or 0, unpack(page)}, size
end
