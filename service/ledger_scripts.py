"""What the ledger does inside Redis in one step, and the names of the keys that span jobs.

A job's log of events is a sorted set: the score is the event's id, a member is `{id or -} {type} {data as JSON}`.
Members with `-` are kept once for each data, at their latest id. Progress is not logged: the job's hash holds the id of
the latest progress of its phase, `progress_event`, and the last one of each phase that is behind, `left:{phase}`. So
what is kept does not grow with the work.

An id is the moment of the event in microseconds since 1970, by the server's clock, or one more than the latest id where
that is not later. The hash has the latest id as `last_event`. Nothing is logged once the job has ended.
"""

UNFINISHED = "labelmint:unfinished"
"""The set of ids of jobs that have not ended; an index, the store is the truth."""

COMPLETE = "labelmint:complete"
"""Is there as long as Redis remembers: without it, `UNFINISHED` and the queue may lack what the store knows."""

ENDED = "labelmint:ended"
"""Counts of jobs that ended, by state."""

_EVENTS = """
local function is_end(state)
    return state == 'succeeded' or state == 'failed' or state == 'cancelled'
end

local function next_event(live)
    local time = redis.call('TIME')
    local id = time[1] * 1000000 + time[2]
    local last = tonumber(redis.call('HGET', live, 'last_event') or '0')
    id = string.format('%.0f', math.max(id, last + 1))
    redis.call('HSET', live, 'last_event', id)
    return id
end

local function log(live, events, type, data, once)
    if is_end(redis.call('HGET', live, 'state')) then
        return
    end
    local id = next_event(live)
    redis.call('ZADD', events, id, (once and '-' or id) .. ' ' .. type .. ' ' .. data)
end

local function progressed(live)
    if not is_end(redis.call('HGET', live, 'state')) then
        redis.call('HSET', live, 'progress_event', next_event(live))
    end
end
"""

SET_STATE = f"""{_EVENTS}
local before = redis.call('HGET', KEYS[1], 'state')
if before == ARGV[1] or before and ARGV[2] == 'unless set' then
    return
end
if is_end(ARGV[1]) then
    next_event(KEYS[1])
else
    log(KEYS[1], KEYS[2], ARGV[1], '{{}}')
end
redis.call('HSET', KEYS[1], 'state', ARGV[1])
"""
"""KEYS: job hash, events. ARGV: state, `unless set` or nothing. The end is not logged: the job's record has it."""

SET_PROGRESS = f"""{_EVENTS}
redis.call('HSET', KEYS[2], unpack(ARGV))
progressed(KEYS[1])
"""
"""KEYS: job hash, the hash to set fields in. ARGV: names and values of the fields."""

ENTER_PHASE = f"""{_EVENTS}
local order = {{["import"] = 1, train = 1, encode = 1, invert = 1, fit = 1, generate = 2, package = 3}}
local live, events, shards, draws = unpack(KEYS)
local phase, total = unpack(ARGV)
local current = redis.call('HGET', live, 'phase')
if current and order[current] > order[phase] then
    return 0
end

local function leave()
    local id = redis.call('HGET', live, 'progress_event')
    if not id then
        return
    end
    local last = {{}}
    for _, name in ipairs({{'phase', 'done', 'total', 'before', 'phase_started', 'details'}}) do
        last[name] = redis.call('HGET', live, name) or nil
    end
    if current == 'generate' then
        local done, judged, settled = 0, 0, 0
        for _, shard in ipairs(redis.call('HVALS', shards)) do
            done = done + shard
        end
        for _, shard in ipairs(redis.call('HVALS', draws)) do
            local of_shard = {{string.match(shard, '(%d+) (%d+)')}}
            judged, settled = judged + of_shard[1], settled + of_shard[2]
        end
        last.done, last.judged = string.format('%.0f', done), string.format('%.0f', judged)
        last.settled = string.format('%.0f', settled)
    end
    redis.call('HSET', live, 'left:' .. current, id .. ' ' .. cjson.encode(last))
end

if current ~= phase then
    if current then
        leave()
    end
    local time = redis.call('TIME')
    local started = string.format('%d.%06d', time[1], time[2])
    redis.call('HSET', live, 'phase', phase, 'done', '0', 'phase_started', started)
    redis.call('HDEL', live, 'details', 'before', 'progress_event', 'left:' .. phase)
    log(live, events, 'phase', '{{"phase": "' .. phase .. '", "total": ' .. total .. '}}')
elseif redis.call('HGET', live, 'total') ~= total then
    progressed(live)
end
redis.call('HSET', live, 'total', total)
return 1
"""
"""KEYS: job hash, events, shards, draws. ARGV: phase, total. The server's clock starts the phase, so that readers need
not share one."""

NOTE = f"""{_EVENTS}
local time = redis.call('TIME')
if redis.call('ZADD', KEYS[3], 'NX', string.format('%d.%06d', time[1], time[2]), ARGV[1]) == 1 then
    log(KEYS[1], KEYS[2], 'note', ARGV[2])
end
"""
"""KEYS: job hash, events, notes. ARGV: the note, and its event's data. A note is told once."""

INTERRUPT = f"""{_EVENTS}
if redis.call('HEXISTS', KEYS[1], 'state') == 1 then
    log(KEYS[1], KEYS[2], 'interrupted', ARGV[1], true)
end
"""
"""KEYS: job hash, events. ARGV: the event's data. The same again replaces what was."""

FINISH_SHARD = """
redis.call('SADD', KEYS[2], ARGV[1])
local shards = redis.call('HGET', KEYS[1], 'shards')
if shards and redis.call('SCARD', KEYS[2]) >= tonumber(shards) then
    return 1
end
return 0
"""
"""KEYS: job hash, set of finished shards. ARGV: shard. Returns 1 when the set is complete."""
