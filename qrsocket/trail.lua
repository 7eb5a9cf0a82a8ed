#!lua flags=allow-oom
-- Add notes to the trails of messages and streams.
-- ARGV[1]  ms that they are kept    ARGV[2]  most notes of one    ARGV[3...]  for each note its name, and its text
for i = 3, #ARGV, 2 do
  local key = KEYS[1] .. 'trail:' .. ARGV[i]
  redis.call('RPUSH', key, ARGV[i + 1])
  redis.call('LTRIM', key, -ARGV[2], -1)
  redis.call('PEXPIRE', key, ARGV[1])
end
