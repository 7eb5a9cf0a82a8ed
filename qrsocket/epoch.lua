-- Which process of the server this is. After a restart from an old dump, or from nothing, Redis has forgotten what
-- clients and nodes know: positions of one epoch mean nothing in another, and nodes come back under new names.
-- KEYS[2]  given with a script's source, which is sent when Redis did not know it, or an attempt has failed. A new process
--          knows no script (since 7.0 none is kept in a dump), and another server that takes over ends connections or
--          answers as a replica first: so both are noticed by the first call, and cost the others nothing.
local epoch, since = unpack(redis.call('HMGET', server, 'epoch', 'since'))
if KEYS[2] or not epoch then
  local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  local known, lease_ms = unpack(redis.call('HMGET', server, 'run_id', 'lease_ms'))
  if run_id ~= known then
    since = clock()
    epoch = digits(since) .. '-' .. string.sub(run_id, 1, 8)
    -- Until then nobody is said to have come or gone: nodes first say again who is connected.
    local settle_until = known and since + (lease_ms or 0) / 2 or 0
    redis.call('HSET', server, 'run_id', run_id, 'epoch', epoch, 'since', digits(since), 'settle_until', digits(settle_until))
  end
end
since = tonumber(since)
