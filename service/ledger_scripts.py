"""What the ledger does inside Redis in one step, and the names of the keys that span jobs."""

UNFINISHED = "labelmint:unfinished"
"""The set of ids of jobs that have not ended; an index for metrics, the store is the truth."""

ENDED = "labelmint:ended"
"""Counts of jobs that ended, by state."""

ENTER_PHASE = """
local order = {["import"] = 1, train = 1, encode = 1, invert = 1, fit = 1, generate = 2, package = 3}
local current = redis.call('HGET', KEYS[1], 'phase')
if current and order[current] > order[ARGV[1]] then
    return 0
end
if current ~= ARGV[1] then
    local time = redis.call('TIME')
    local started = string.format('%d.%06d', time[1], time[2])
    redis.call('HSET', KEYS[1], 'phase', ARGV[1], 'done', '0', 'phase_started', started)
    redis.call('HDEL', KEYS[1], 'details', 'before')
end
redis.call('HSET', KEYS[1], 'total', ARGV[2])
return 1
"""
"""KEYS: job hash. ARGV: phase, total. The server's clock starts the phase, so that readers need not share one."""

FINISH_SHARD = """
redis.call('SADD', KEYS[2], ARGV[1])
local shards = redis.call('HGET', KEYS[1], 'shards')
if shards and redis.call('SCARD', KEYS[2]) >= tonumber(shards) then
    return 1
end
return 0
"""
"""KEYS: job hash, set of finished shards. ARGV: shard. Returns 1 when the set is complete."""
