#!lua flags=allow-oom
-- ARGV[1]  node
-- Returns the edges that it has claimed.
local answer = {}
for _, audience in ipairs(redis.call('SMEMBERS', claims(ARGV[1]))) do
  local seq, attempt = unpack(redis.call('HMGET', claim(audience), 'seq', 'attempt'))
  local kind = string.match(redis.call('LINDEX', edges(audience), 0) or '', '%a+$')
  if seq and kind then answer[#answer + 1] = {audience, seq, kind, tonumber(attempt)} end
end
return answer
