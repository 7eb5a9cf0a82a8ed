#!lua flags=allow-oom
-- ARGV[1]  node
-- Returns the transitions that it has claimed.
--include keys
local answer = {}
for _, stream in ipairs(redis.call('SMEMBERS', claims(ARGV[1]))) do
  local seq, attempt = unpack(redis.call('HMGET', claim(stream), 'seq', 'attempt'))
  local kind = string.match(redis.call('LINDEX', transitions(stream), 0) or '', '%a+$')
  if seq and kind then answer[#answer + 1] = {stream, seq, kind, tonumber(attempt)} end
end
return answer
