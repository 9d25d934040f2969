-- Begins a session and bounds the sessions of its agent.
-- KEYS[1] the session, KEYS[2] the agent's sessions by last use. ARGV: id, stored session, idle time (s), most sessions.
-- Returns the ids of those that had to go, whose keys it may not touch: they are not among its own.
local now, ended = tonumber(redis.call('TIME')[1]), {}
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - tonumber(ARGV[3]))
while redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) do
    ended[#ended + 1] = redis.call('ZPOPMIN', KEYS[2])[1]
end
redis.call('HSET', KEYS[1], 's', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return ended
