-- Takes as many tokens as there are, at most so many, out of the installation's bucket.
-- KEYS: 1 the bucket. ARGV: 1 its interval (µs), 2 its burst, 3 how many are wanted. Returns how many were taken.
local t = redis.call('TIME')
local now = (tonumber(t[1]) - 1760000000) * 1000000 + tonumber(t[2])
local interval, fill = tonumber(ARGV[1]), tonumber(ARGV[1]) * tonumber(ARGV[2])
local full_at = math.min(math.max(tonumber(redis.call('MGET', KEYS[1])[1]) or now, now), now + fill)
-- Written in any case: a clock that went back must not lock it for longer than one fill.
redis.call('SET', KEYS[1], string.format('%.3f', full_at), 'PX', math.ceil((full_at - now) / 1000) + 1000)
local taken = math.min(tonumber(ARGV[3]), math.floor((now + fill - full_at) / interval + 0.000001))
if taken <= 0 then return 0 end
full_at = full_at + taken * interval
redis.call('SET', KEYS[1], string.format('%.3f', full_at), 'PX', math.ceil((full_at - now) / 1000) + 1000)
return taken
