-- Ends a round: begins a budget's counter with what the record has of its period and what is reserved. Whoever comes second changes nothing.
-- KEYS: 1 the counter, 2 its reservations, 3 the round. ARGV: 1 the round that the record was read in, 2 the sum of the record but for the calls that
--   follow, 3 how long the counter lives (s); then per reservation that was there before the record was read: its name, and what its call has cost in
--   the record ('' = not there yet).
-- Returns 1, or 0 if calls have come to the record meanwhile: then it has to be read again.
local t = redis.call('TIME')
local now_ms = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
if tonumber(redis.call('MGET', KEYS[1])[1]) and redis.call('ZCOUNT', KEYS[2], '-inf', now_ms) == 0 then return 1 end
-- Somebody else has begun the counter since, and it is gone again; or a call was settled that nobody here knew to be reserved, and which may not have
-- been in the record yet when it was read.
if redis.call('MGET', KEYS[3])[1] ~= ARGV[1] then return 0 end
local total, known = tonumber(ARGV[2]), {}
for i = 4, #ARGV, 2 do
    local name, cost = ARGV[i], ARGV[i + 1]
    known[name] = true
    local ends = tonumber(redis.call('ZSCORE', KEYS[2], name))
    if ends and ends > now_ms then
        -- Whoever settles it takes the reservation out and puts the cost in.
        total = total + tonumber(string.match(name, ':(%d+)$'))
    elseif ends or cost ~= '' then
        total = total + (tonumber(cost) or 0)
    else
        return 0
    end
end
for _, name in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    if not known[name] then return 0 end
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now_ms)
redis.call('SET', KEYS[1], string.format('%.0f', total), 'EX', ARGV[3])
redis.call('DEL', KEYS[3])
return 1
