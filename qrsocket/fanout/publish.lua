-- Send a message to streams: one frame to every node that has subscriptions of them.
-- ARGV[1]  kind    ARGV[2]  message id    ARGV[3]  payload    ARGV[4]  options, for the nodes
-- ARGV[5]  ms that the id is remembered    ARGV[6]  messages that are kept of a stream, or 0: this one is not kept and
-- not counted    ARGV[7]  ms that they are kept    ARGV[8...]  streams
-- Returns '<repeated> <connections> <node> <node>…', between tabs: repeated is 1 if the id was seen before; then nothing
-- is sent, and the rest is what it was then.
-- The hottest of all scripts: it names its keys itself, since to define all names takes Redis as long as to send.
local call = redis.call
local kind, id, payload, options, remember_ms, most, keep_ms = unpack(ARGV, 1, 7)
local sent = base .. 'sent:' .. id
local seen = call('GET', sent)
if seen then return '1\t' .. seen end

local connections, reached, about = 0, '', '\t' .. epoch .. '\t' .. id .. '\t' .. options .. '\t'
local function send(node, subscriptions, recipients)
  local number = call('HINCRBY', frames, node, 1)
  local frame = kind .. '\t' .. number .. about .. recipients .. '\n' .. payload
  -- A node that does not listen has died and is not reaped yet, or has lost its subscription and will read it later.
  if call('PUBLISH', base .. 'channel:' .. node, frame) > 0 then
    connections, reached = connections + subscriptions, reached .. '\t' .. node
  end
end

local recipients, counts = {}, {} -- by node, where there are several streams: one is nearly always all
for i = 8, #ARGV do
  local stream, offset = ARGV[i], '-'
  if most ~= '0' then
    local history = base .. 'history:' .. stream
    offset = next_offset(base .. 'position:' .. stream, history)
    if options == '' then
      call('XADD', history, 'MAXLEN', '~', most, offset .. '-0', 'k', kind, 'p', payload)
    else
      call('XADD', history, 'MAXLEN', '~', most, offset .. '-0', 'k', kind, 'p', payload, 'o', options)
    end
    call('PEXPIRE', history, keep_ms)
  end
  local recipient, at = stream .. '\t' .. offset, call('HGETALL', base .. 'route:' .. stream)
  for j = 1, #at, 2 do
    local node = at[j]
    if #ARGV == 8 then
      send(node, at[j + 1], recipient)
    else
      recipients[node], counts[node] = recipients[node] or {}, (counts[node] or 0) + at[j + 1]
      table.insert(recipients[node], recipient)
    end
  end
end
for node, its in pairs(recipients) do send(node, counts[node], table.concat(its, '\t')) end

local answer = connections .. reached
call('SET', sent, answer, 'PX', remember_ms)
return '0\t' .. answer
