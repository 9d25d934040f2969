-- Begins counters that are not there with what is in the record. Whoever comes second changes nothing.
-- KEYS: counters. ARGV: per counter what is used and how long it lives (s).
for i = 1, #KEYS do
    local value = redis.call('MGET', KEYS[i])[1]
    if not tonumber(value) then
        redis.call('SET', KEYS[i], ARGV[2 * i - 1], 'EX', ARGV[2 * i])
    end
end
return 1
