#!lua flags=allow-oom
-- Have what was issued for users until now prove nothing any more.
-- ARGV[1]  ms for which that holds    ARGV[2...]  streams of the users
-- What was issued in this very ms may be from before.
--include keys
local at = digits(clock() + 1)
for i = 2, #ARGV do redis.call('SET', revoked(ARGV[i]), at, 'PX', ARGV[1]) end
