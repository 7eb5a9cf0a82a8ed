-- Send a message to streams: one envelope to every node that has subscriptions of them.
-- ARGV[1]  kind    ARGV[2]  message id    ARGV[3]  payload    ARGV[4]  options, for the nodes
-- ARGV[5]  ms that the id is remembered    ARGV[6]  messages that are kept of a stream, or 0: this one is not kept and
-- not counted    ARGV[7]  ms that they are kept
-- ARGV[8]  what trail.lua is to note of it, or ''
-- ARGV[9...]  for each stream its name, and the signature of the message for it or ''
-- Returns '<repeated> <connections> <node> <node>…', between tabs: repeated is 1 if the id was seen before; then nothing
-- is sent, and the rest is what it was then.
-- The hottest of all scripts (`python -m bench.recovery` measures it): to define a name or a function costs Redis up to
-- 0.3 µs in each run, a command 1 to 2. So it names its keys where they are used, and includes what is rare there, too.
--include epoch
local call, base = redis.call, KEYS[1]
local kind, id, payload, options, remember_ms, most, keep_ms, trail = unpack(ARGV, 1, 8)
local note_sent, note_repeated, streams
if trail ~= '' then
  streams = {}
  --include fanout/trail
end
local sent = base .. 'sent:' .. id
local seen = call('GET', sent) -- always: an attempt that was given up may come after the one that followed it
if seen then
  if note_repeated then note_repeated() end
  return '1\t' .. seen
end

-- Nodes and how many subscriptions each has, in turn; and whom the message is for: where there is one stream, the same to
-- all nodes.
local is_one, at, recipient, recipients = #ARGV == 10, {}, '', {}
for i = 9, #ARGV, 2 do
  local stream, signature = ARGV[i], ARGV[i + 1]
  local offset = '-'
  if most ~= '0' then
    local position, history = base .. 'position:' .. stream, base .. 'history:' .. stream
    offset = call('INCR', position)
    if offset <= since then
      --include offsets
      begin_offsets(position, history)
      offset = call('INCR', position)
    end
    if options == '' and signature == '' then
      call('XADD', history, 'MAXLEN', '~', most, offset .. '-0', 'k', kind, 'p', payload)
    else
      call('XADD', history, 'MAXLEN', '~', most, offset .. '-0', 'k', kind, 'p', payload, 'o', options, 's', signature)
    end
    call('PEXPIRE', history, keep_ms)
  end
  recipient = stream .. '\t' .. offset
  if signature ~= '' then recipient = recipient .. '.' .. signature end
  if streams then streams[#streams + 1] = {stream = stream, offset = offset == '-' and '' or string.format('%.0f', offset)} end
  local its = call('HGETALL', base .. 'route:' .. stream)
  if is_one then
    at = its
  else
    for j = 1, #its, 2 do
      local here = recipients[its[j]] or {subscriptions = 0}
      here.subscriptions, here[#here + 1] = here.subscriptions + its[j + 1], recipient
      recipients[its[j]] = here
    end
  end
end
for node, here in pairs(recipients) do at[#at + 1], at[#at + 2] = node, here.subscriptions end

local connections, reached, about = 0, '', '\t' .. epoch .. '\t' .. id .. '\t' .. options .. '\t'
for i = 1, #at, 2 do
  local node = at[i]
  local number = call('HINCRBY', base .. 'envelopes', node, '1')
  local whom = is_one and recipient or table.concat(recipients[node], '\t')
  local envelope = kind .. '\t' .. number .. about .. whom .. '\n' .. payload
  -- A node that does not listen has died and is not reaped yet, or has lost its subscription and will read it later.
  if call('PUBLISH', base .. 'channel:' .. node, envelope) > 0 then
    connections, reached = connections + at[i + 1], reached .. '\t' .. node
  end
end

local answer = connections .. reached
if note_sent then note_sent(connections, reached) end
call('SET', sent, answer, 'PX', remember_ms)
return '0\t' .. answer
