#!lua flags=allow-oom
-- Returns the streams of the users that some node has open connections of, in no order; some more than once.
--include keys
local users = {}
for _, node in ipairs(redis.call('ZRANGE', nodes, 0, -1)) do
  for _, stream in ipairs(redis.call('SMEMBERS', streams(node))) do
    if is_user(stream) then users[#users + 1] = stream end
  end
end
return users
