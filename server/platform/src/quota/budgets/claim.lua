-- Begins a round of reading the record for a budget's counter: until the round has ended the counter is not there, and nothing is admitted on it. Who
-- comes while one goes on joins it.
-- KEYS: 1 the counter, 2 its reservations, 3 the round. ARGV: 1 a name for a new round, 2 how long it lasts at most (s).
-- Returns nothing if the counter is there; else the round's name, and the names of what is reserved.
local t = redis.call('TIME')
local late = redis.pcall('ZCOUNT', KEYS[2], '-inf', tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000))
if type(late) == 'table' then
    -- A key of another type is nothing of ours: it makes room.
    redis.call('DEL', KEYS[2])
    late = 1
end
if tonumber(redis.call('MGET', KEYS[1])[1]) then
    if late == 0 then return {} end
    redis.call('DEL', KEYS[1])
end
local round = redis.call('MGET', KEYS[3])[1]
if not round then
    round = ARGV[1]
    redis.call('SET', KEYS[3], round, 'EX', ARGV[2])
end
local names = redis.call('ZRANGE', KEYS[2], 0, -1)
table.insert(names, 1, round)
return names
