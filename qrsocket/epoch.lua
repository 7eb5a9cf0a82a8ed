-- Which process of the server this is. After a restart from an old dump, or from nothing, Redis has forgotten what
-- clients and nodes know: positions of one epoch mean nothing in another, and nodes come back under new names.
-- KEYS[2]  given with a script's source, which is sent when Redis did not know it, or an attempt has failed. A new process
--          knows no script (since 7.0 none is kept in a dump), and another server that takes over ends connections or
--          answers as a replica first: so both are noticed by the first call, and cost the others nothing.
local epoch = redis.call('HGET', KEYS[1] .. 'server', 'epoch')
if KEYS[2] or not epoch then
  local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  local known, lease_ms = unpack(redis.call('HMGET', KEYS[1] .. 'server', 'run_id', 'lease_ms'))
  if run_id ~= known then
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    epoch = now .. '-' .. string.sub(run_id, 1, 8)
    -- Until then nobody is said to have come or gone: nodes first say again who is connected.
    local quiet_until = known and now + (lease_ms or 0) / 2 or 0
    redis.call('HSET', KEYS[1] .. 'server', 'run_id', run_id, 'epoch', epoch, 'quiet_until', quiet_until)
  end
end
local since = tonumber(string.match(epoch, '^%d+')) -- when it began (Unix ms)
