-- Puts the cost of calls that are in the record in the place of what was reserved for them. Twice is once.
-- KEYS: per reservation its counter, where it is, and the round that begins the counter. ARGV: per reservation its name, the difference, and the cost.
for i = 1, #KEYS / 3 do
    local counter = KEYS[3 * i - 2]
    if redis.pcall('ZREM', KEYS[3 * i - 1], ARGV[3 * i - 2]) == 1 then
        -- A counter that is not there will begin with the record.
        if tonumber(redis.call('MGET', counter)[1]) then redis.call('INCRBY', counter, ARGV[3 * i - 1]) end
    elseif ARGV[3 * i] ~= '0' then
        -- Settled before, or nothing was known of it here: the record knows, and is asked again. Whoever reads it at the moment may have read it before
        -- this call was there.
        redis.call('DEL', counter, KEYS[3 * i])
    end
end
return 1
