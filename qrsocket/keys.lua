-- The key names of keys.py, for scripts.
--include base
local nodes, reaping, grace = base .. 'nodes', base .. 'reaping', base .. 'grace'
local function streams(node) return base .. 'node:' .. node .. ':streams' end
local function figures(node) return base .. 'node:' .. node .. ':figures' end
local function claims(node) return base .. 'node:' .. node .. ':claims' end
local function route(stream) return base .. 'route:' .. stream end
local function state(stream) return base .. 'state:' .. stream end
local function transitions(stream) return base .. 'transitions:' .. stream end
local function claim(stream) return base .. 'claim:' .. stream end
local function position(stream) return base .. 'position:' .. stream end
local function history(stream) return base .. 'history:' .. stream end
local function members(topic) return base .. 'members:' .. topic end
local function revoked(stream) return base .. 'revoked:' .. stream end
local function sent(message_id) return base .. 'sent:' .. message_id end
local function channel(node) return base .. 'channel:' .. node end

local function is_user(stream) return string.sub(stream, 1, 2) == 'u:' end
local function is_connection(stream) return string.sub(stream, 1, 2) == 'c:' end
-- Topic and user of `m:<topic> <user>`; nothing for another stream.
local function member_in(stream) return string.match(stream, '^m:(%S+) (.+)$') end
-- Counts what changes in the jobs of whose stream it is.
local function jobs_of(stream) return 'j:' .. stream end
