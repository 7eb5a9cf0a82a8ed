-- Note what becomes of this message, for `qrsocket why`.
-- trail  {ms that notes are kept, the message's public id, who sends it: {…}}, in JSON
local at = call('TIME')
local MOST_NOTES, MOST_STREAMS = 1000, 100
local noting = cjson.decode(trail)
local function note(name, what, more)
  more.at, more.what, more.id, more.wire_id = at[1] * 1000 + math.floor(at[2] / 1000), what, noting.id, id
  local key = base .. 'trail:' .. name
  call('RPUSH', key, cjson.encode(more))
  call('LTRIM', key, -MOST_NOTES, -1)
  call('PEXPIRE', key, noting.ms)
end
note_repeated = function() note(noting.id, 'repeated', {by = noting.by}) end
note_sent = function(connections, reached)
  local first = {unpack(streams, 1, MOST_STREAMS)}
  for _, one in ipairs(first) do note(one.stream, 'sent', {offset = one.offset}) end
  local more = {by = noting.by, kind = kind, streams = first, recipients = #streams, connections = connections}
  more.nodes = reached
  note(noting.id, 'sent', more)
end
