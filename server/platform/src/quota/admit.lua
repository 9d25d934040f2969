-- Admits a call by all of its buckets or by none.
-- KEYS[1] the tenant's epoch, KEYS[2] a session and KEYS[3] its agent's sessions if ARGV[2] is not '', the rest the buckets.
-- ARGV[1] the caller's epoch ('' = do not compare), ARGV[2] the session's id, ARGV[3] its idle time (s), then per bucket: interval (µs), burst.
-- Returns {0} stale | {3} no such session | {1, now, full_at...} admitted | {2, index, wait, now, full_at...} refused; times in µs since 2025-10-09.
if ARGV[1] ~= '' and redis.call('GET', KEYS[1]) ~= ARGV[1] then return {0} end
local t = redis.call('TIME')
local now = (tonumber(t[1]) - 1760000000) * 1000000 + tonumber(t[2])
local skip = 1
if ARGV[2] ~= '' then
    if redis.call('EXPIRE', KEYS[2], ARGV[3]) == 0 then return {3} end
    redis.call('ZADD', KEYS[3], tonumber(t[1]), ARGV[2])
    redis.call('EXPIRE', KEYS[3], ARGV[3])
    skip = 3
end
local n = #KEYS - skip
local after, refused, wait = {}, 0, 0
local stored = redis.call('MGET', unpack(KEYS, skip + 1))
for i = 1, n do
    local interval, burst = tonumber(ARGV[2 * i + 2]), tonumber(ARGV[2 * i + 3])
    local fill = interval * burst
    -- Clamped: a clock that went back must not lock a bucket for longer than one fill.
    local full_at = math.min(math.max(tonumber(stored[i]) or now, now), now + fill)
    after[i] = full_at + interval
    local short = after[i] - now - fill
    if short > 0.001 then
        if short > wait then refused, wait = i, short end
        after[i] = full_at
    end
end
if refused > 0 then
    local answer = {2, refused, math.ceil(wait), now}
    for i = 1, n do answer[4 + i] = math.floor(after[i]) end
    return answer
end
local answer = {1, now}
for i = 1, n do
    redis.call('SET', KEYS[skip + i], string.format('%.3f', after[i]), 'PX', math.ceil((after[i] - now) / 1000) + 1000)
    answer[2 + i] = math.floor(after[i])
end
return answer
