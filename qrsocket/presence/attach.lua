#!lua flags=allow-oom
-- Say how many subscriptions of streams a node has now; on every connect, join, leave and disconnect. The counts are
-- absolute, so that doing it twice changes nothing.
-- ARGV[1]  node    ARGV[2]  offline grace in ms    ARGV[3]  number of streams
-- ARGV[4...]  for each stream: its name; the count; the most on all nodes together, or 0 for any number; '' or what the
--   node knows of a user's last transition and of the last one that was told: '<seq> <online or offline> <seq> <…>'; '' or, if
--   a user comes, when the proof of that was issued (Unix ms)
-- and then, for each client that comes back, a stream, epoch and offset
-- Returns {'OK', epoch, answers, pages of what was missed}; {'FENCED'} if the node was given up: its routes are gone or
-- going. An answer is {newest offset, newest offset of its jobs, transition or false, seq, online, told_seq, told, when the user
-- was revoked or 0}. It is {} if there are too many, and {'REVOKED', when} if the proof is from before: then nothing has
-- changed for that stream.
--include presence/transition
local node, grace_ms, number = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if not redis.call('ZSCORE', nodes, node) then return {'FENCED'} end

local function is_too_many(stream, count_here, most)
  local before, elsewhere = 0, 0
  local counts = redis.call('HGETALL', route(stream))
  for i = 1, #counts, 2 do
    if counts[i] == node then before = tonumber(counts[i + 1]) else elsewhere = elsewhere + counts[i + 1] end
  end
  return count_here > before and elsewhere + count_here > most
end

local function restore_known(stream, known)
  local seq, kind, told_seq, told = string.match(known, '^(%d+) (%a+) (%d+) (%a+)$')
  return restore(stream, tonumber(seq), kind, tonumber(told_seq), told, node)
end

local function attach(stream, count_here, most, known, issued)
  local revoked_at = count_here > 0 and is_user(stream) and redis.call('GET', revoked(stream)) or '0'
  if issued ~= '' and tonumber(issued) < tonumber(revoked_at) then return {'REVOKED', revoked_at} end
  if most > 0 and is_too_many(stream, count_here, most) then return {} end
  if count_here > 0 then
    redis.call('HSET', route(stream), node, count_here)
    redis.call('SADD', streams(node), stream)
  else
    redis.call('HDEL', route(stream), node)
    redis.call('SREM', streams(node), stream)
  end
  local transition = known ~= '' and restore_known(stream, known) or nil
  local top, jobs_top = '0', '0'
  if count_here > 0 and not member_in(stream) then
    top = digits(top_of(stream))
    if is_user(stream) or is_connection(stream) then jobs_top = digits(top_of(jobs_of(stream))) end
  end
  transition = detect(stream, grace_ms, node) or transition or false
  if not is_user(stream) then return {top, jobs_top} end
  local last = redis.call('HMGET', state(stream), 'seq', 'online', 'told_seq', 'told')
  return {top, jobs_top, transition, last[1] or '0', last[2] or '0', last[3] or '0', last[4] or '0', revoked_at}
end

local answers, pages, room = {}, {}, PAGE_BYTES
local first_read = 4 + 5 * number
for i = 4, first_read - 1, 5 do
  answers[#answers + 1] = attach(ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), ARGV[i + 3], ARGV[i + 4])
end
for i = first_read, #ARGV, 3 do
  local page, size = missed(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), room)
  pages[#pages + 1], room = page, room - size
end
tell_members()
return {'OK', epoch, answers, pages}
