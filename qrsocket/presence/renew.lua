#!lua flags=allow-oom
-- Renew a node's lease, and show it on its own channel that Redis still reaches it.
-- ARGV[1]  node    ARGV[2]  lease in ms    ARGV[3]  offline grace in ms    ARGV[4]  what it says of itself, or ''
-- Returns {epoch, claims, members}: how many transitions it has claimed and streams it has connections of; nothing if the
-- node was given up: it must come back under a new name, never be resurrected, since others may have told already that
-- its users are gone.
--include keys
--include epoch
local node = ARGV[1]
if not redis.call('ZSCORE', nodes, node) then return {} end
local now = clock()
local beat, lease_ms = unpack(redis.call('HMGET', server, 'beat', 'lease_ms'))
if beat and now - beat > lease_ms / 2 then
  -- No node could renew for so long: that was Redis' fault. Everybody gets a lease and a grace once more.
  for _, other in ipairs(redis.call('ZRANGE', nodes, 0, -1)) do
    redis.call('ZADD', nodes, 'GT', digits(now + lease_ms), other)
  end
  for _, stream in ipairs(redis.call('ZRANGE', grace, 0, -1)) do
    redis.call('ZADD', grace, 'GT', digits(now + ARGV[3]), stream)
  end
end
redis.call('HSET', server, 'beat', digits(now))
redis.call('ZADD', nodes, digits(now + ARGV[2]), node)
if ARGV[4] ~= '' then redis.call('SET', figures(node), ARGV[4], 'PX', ARGV[2]) end
local number = redis.call('HGET', envelopes, node) or '0'
redis.call('PUBLISH', channel(node), 'h\t' .. number .. '\t' .. epoch .. '\t\t\n')
return {epoch, redis.call('SCARD', claims(node)), redis.call('SCARD', streams(node))}
