-- Decides a call by everything that bounds it, and charges all of it or nothing. All keys are one tenant's, in one hash slot.
-- KEYS: 1 the tenant's epoch, 2 the call, 3 its session, 4 its agent's sessions by last use (to the second), 5 what is kept under its idempotency
--   key, 6 its agent's strikes; then buckets, counters, sets of what runs, and for each budget its reservations. Budgets are the last of the counters. Of the
--   first six, those that are not wanted are the epoch again.
-- ARGV: 1 the caller's epoch ('' = do not compare), 2 the session's id ('' = none), 3 its idle time (s), 4 the call's id ('' = do not remember),
--   5 until when it runs at most, from now (ms), 6 the day that the counters are of ('' = none), 7 a digest of the arguments ('' = no idempotency
--   key), 8 how long what becomes of it is kept (s), 9 whether it may run again when nobody knows what became of it ('1'), 10 the window of strikes
--   (s; 0 = not counted), 11 to 13 how many buckets, counters, and budgets among the counters; then per bucket its interval (µs) and burst, per
--   counter its amount, its most and when it ends (s), per set its most.
-- Under an idempotency key stands the digest, and after it 'r' and until when it runs (ms), or '=' and its result.
-- Returns {0} stale | {3} no such session | {4, i…} counters not known | {5, day} another day | {6} other arguments | {7, ms} still running |
--   {8, result} kept | {9} given back | {10} begun, and its end is not known | {1, now, …} admitted | {2, index, wait, strikes, now, …} refused. What follows `now` is for each bucket when
--   it is full, for each counter what is used, for each set who is in it. Times in µs since 2025-10-09.
local call, try = redis.call, redis.pcall
local head = call('MGET', KEYS[1], KEYS[2], KEYS[5])
if ARGV[1] ~= '' and head[1] ~= ARGV[1] then return {0} end
-- Decided before: whoever asked did not hear it.
if ARGV[4] ~= '' and head[2] then
    if head[2] == 'refunded' then return {9} end
    return cmsgpack.unpack(head[2])
end
local t = call('TIME')
local seconds = tonumber(t[1])
local now = (seconds - 1760000000) * 1000000 + tonumber(t[2])
if ARGV[6] ~= '' and math.floor(seconds / 86400) ~= tonumber(ARGV[6]) then return {5, math.floor(seconds / 86400)} end
if ARGV[2] ~= '' then
    local left = call('TTL', KEYS[3])
    if left == -2 then return {3} end
    -- Once a second is enough, by which the one that was used last is known: three writes with each call would be a tenth of what a call costs here.
    if left < tonumber(ARGV[3]) then
        call('EXPIRE', KEYS[3], ARGV[3])
        -- A key of another type is nothing of ours: it makes room.
        if type(try('ZADD', KEYS[4], seconds, ARGV[2])) == 'table' then
            call('DEL', KEYS[4])
            call('ZADD', KEYS[4], seconds, ARGV[2])
        end
        call('EXPIRE', KEYS[4], ARGV[3])
    end
end
if ARGV[7] ~= '' and head[3] then
    local length = #ARGV[7]
    if string.sub(head[3], 1, length) ~= ARGV[7] then return {6} end
    if string.sub(head[3], length + 1, length + 1) == '=' then return {8, string.sub(head[3], length + 2)} end
    local left = (tonumber(string.sub(head[3], length + 2)) or 0) - seconds * 1000 - math.floor(tonumber(t[2]) / 1000)
    if left > 0 then return {7, left} end
    if ARGV[9] ~= '1' then return {10} end
end
local buckets, counters, budgets = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local first_counter, first_set, n = buckets + 1, buckets + counters + 1, #KEYS - 6 - budgets
local first_budget = first_set - budgets
local now_ms = seconds * 1000 + math.floor(tonumber(t[2]) / 1000)
-- Where the reservations of a budget are.
local function reservations(i) return KEYS[7 + n + i - first_budget] end
local stored = {}
if first_set > 1 then stored = call('MGET', unpack(KEYS, 7, 5 + first_set)) end
local answer, after = {1, now}, {}
local refused, wait, arg = 0, 0, 14
for i = 1, buckets do
    local interval, burst = tonumber(ARGV[arg]), tonumber(ARGV[arg + 1])
    arg = arg + 2
    local fill = interval * burst
    local full_at = math.max(tonumber(stored[i]) or now, now)
    -- A clock that went back must not lock a bucket for longer than one fill: written at once, or a refusal would find it so again and again.
    if full_at > now + fill + 1 then
        full_at = now + fill
        call('SET', KEYS[6 + i], string.format('%.3f', full_at), 'PX', string.format('%d', fill / 1000 + 1001))
    end
    after[i] = full_at + interval
    local short = after[i] - now - fill
    if short > 0.001 then
        if short > wait then refused, wait = i, short end
        after[i] = full_at
    end
    answer[2 + i] = math.floor(after[i])
end
local unknown = {4}
for i = first_counter, first_set - 1 do
    local used = tonumber(stored[i])
    if used and i >= first_budget then
        -- A reservation that nobody has settled in its time: what became of it stands in the record.
        local late = try('ZRANGEBYSCORE', reservations(i), '-inf', now_ms, 'LIMIT', 0, 1)
        if late.err then call('DEL', reservations(i)) end
        if late.err or #late > 0 then used = nil end
    end
    if used then
        local amount = tonumber(ARGV[arg])
        if used + amount > tonumber(ARGV[arg + 1]) then
            local left = (tonumber(ARGV[arg + 2]) - 1760000000) * 1000000 - now
            if left > wait then refused, wait = i, left end
            amount = 0
        end
        answer[2 + i] = used + amount
    else
        unknown[#unknown + 1] = i - buckets
    end
    arg = arg + 3
end
if #unknown > 1 then return unknown end
for i = first_set, n do
    local key, most = KEYS[6 + i], tonumber(ARGV[arg])
    arg = arg + 1
    local running = try('ZCARD', key)
    if type(running) == 'table' then
        call('DEL', key)
        running = 0
    end
    if running >= most then
        -- Who should have ended and has not said so is not waited for.
        call('ZREMRANGEBYSCORE', key, '-inf', now_ms)
        running = call('ZCARD', key)
        if running >= most and wait < 1000000 then refused, wait = i, 1000000 end
    end
    answer[2 + i] = running
end
if refused > 0 then
    local strikes = 0
    if ARGV[10] ~= '0' then
        strikes = try('INCR', KEYS[6])
        if type(strikes) == 'table' then
            call('SET', KEYS[6], 1)
            strikes = 1
        end
        if strikes == 1 then call('EXPIRE', KEYS[6], ARGV[10]) end
    end
    local said = {2, refused, math.ceil(wait), strikes, now}
    for i = 1, n do said[5 + i] = answer[2 + i] end
    -- Long enough for whoever did not hear it; floods of refusals must not fill the memory.
    if ARGV[4] ~= '' then call('SET', KEYS[2], cmsgpack.pack(said), 'PX', '2000') end
    return said
end
for i = 1, buckets do
    call('SET', KEYS[6 + i], string.format('%.3f', after[i]), 'PX', string.format('%d', (after[i] - now) / 1000 + 1001))
end
for i = first_counter, first_set - 1 do
    local at = 14 + 2 * buckets + 3 * (i - first_counter)
    call('INCRBY', KEYS[6 + i], ARGV[at])
    if i >= first_budget then
        -- For as long as the record may take to get to Postgres, from where it is settled. Beyond, the record is asked what became of it.
        call('ZADD', reservations(i), now_ms + tonumber(ARGV[5]) + 600000, ARGV[4] .. ':' .. ARGV[at])
        call('EXPIREAT', reservations(i), tonumber(ARGV[at + 2]) + 172800)
    end
end
-- Redis writes a number that it is given as one of Lua's with seventeen digits, which takes longer than most commands.
local life = tonumber(ARGV[5])
local ends = string.format('%d', now_ms + life)
for i = first_set, n do
    call('ZADD', KEYS[6 + i], ends, ARGV[4])
    -- The key outlives its members: no call runs for longer than an hour.
    if answer[2 + i] == 0 or call('PTTL', KEYS[6 + i]) < life then call('PEXPIRE', KEYS[6 + i], '3600000') end
    answer[2 + i] = answer[2 + i] + 1
end
if ARGV[7] ~= '' then call('SET', KEYS[5], ARGV[7] .. 'r' .. ends, 'EX', ARGV[8]) end
if ARGV[4] ~= '' then call('SET', KEYS[2], cmsgpack.pack(answer), 'PX', '60000') end
return answer
