-- Gives a call back what it was charged, once: nothing was sent for it.
-- KEYS: 1 the call, then its buckets and counters. ARGV: 1 how many buckets; then per bucket its interval (µs), per counter its amount.
-- Returns 1 if it was given back, 0 if there is nothing to give back (any more).
local before = redis.call('MGET', KEYS[1])[1]
if not before or before == 'refunded' or cmsgpack.unpack(before)[1] ~= 1 then return 0 end
redis.call('SET', KEYS[1], 'refunded', 'KEEPTTL')
local t = redis.call('TIME')
local now = (tonumber(t[1]) - 1760000000) * 1000000 + tonumber(t[2])
local buckets = tonumber(ARGV[1])
local stored = {}
if #KEYS > 1 then stored = redis.call('MGET', unpack(KEYS, 2)) end
for i = 1, #KEYS - 1 do
    local value, amount = tonumber(stored[i]), tonumber(ARGV[1 + i])
    if value and i <= buckets then
        local full_at = value - amount
        if full_at <= now then
            redis.call('DEL', KEYS[1 + i])
        else
            redis.call('SET', KEYS[1 + i], string.format('%.3f', full_at), 'PX', math.ceil((full_at - now) / 1000) + 1000)
        end
    elseif value then
        redis.call('DECRBY', KEYS[1 + i], math.min(amount, value))
    end
end
return 1
