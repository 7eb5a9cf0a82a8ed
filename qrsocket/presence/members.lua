-- The members of topics, and what others are told of them.
--include history
--include node
local joined_or_left = {} -- in this call, by topic

-- Remember that a user has joined a topic, or left it.
local function change_members(topic, user, is_here)
  redis.call(is_here and 'SADD' or 'SREM', members(topic), user)
  local change = joined_or_left[topic]
  if not change then
    change = {joined = {}, left = {}}
    joined_or_left[topic] = change
  end
  local users = is_here and change.joined or change.left
  users[#users + 1] = user
  return nil
end

-- Tell the nodes whose connections have joined those topics: one envelope each for all that has changed.
local function tell_members()
  for topic, change in pairs(joined_or_left) do
    local stream, said = 'm:' .. topic, {}
    for name, users in pairs(change) do
      if #users > 0 then said[name] = users end
    end
    local payload, rest = cjson.encode(said), '\t' .. stream .. '\t' .. count(stream)
    redis.call('PERSIST', position(stream))
    if redis.call('EXISTS', members(topic)) == 0 then redis.call('PEXPIRE', position(stream), 86400000) end
    for _, node in ipairs(redis.call('HKEYS', route('t:' .. topic))) do send(node, 'm', '', rest, payload) end
  end
end
