-- Reads what admission charges, and charges nothing. All keys are one tenant's, in one hash slot.
-- KEYS: buckets, counters, sets of what runs. ARGV: 1 and 2 how many buckets and counters.
-- Returns now, then for each bucket when it is full, for each counter what is used (-1 = not known), for each set who is in it and still may be.
-- Times in µs since 2025-10-09.
local t = redis.call('TIME')
local now = (tonumber(t[1]) - 1760000000) * 1000000 + tonumber(t[2])
local now_ms = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local buckets, counters = tonumber(ARGV[1]), tonumber(ARGV[2])
local answer, stored = {now}, {}
if buckets + counters > 0 then stored = redis.call('MGET', unpack(KEYS, 1, buckets + counters)) end
for i = 1, buckets do
    answer[1 + i] = math.floor(math.max(tonumber(stored[i]) or now, now))
end
for i = buckets + 1, buckets + counters do
    answer[1 + i] = tonumber(stored[i]) or -1
end
for i = buckets + counters + 1, #KEYS do
    local running = redis.pcall('ZCOUNT', KEYS[i], now_ms, '+inf')
    -- A key of another type is nothing of ours.
    if type(running) == 'table' then running = 0 end
    answer[1 + i] = running
end
return answer
