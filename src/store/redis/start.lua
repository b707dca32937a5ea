-- Writes a session's record until its end, or takes it away when that is over.
-- KEYS: the record
-- ARGV: the record's text, its end, the longest life of a key
local time = redis.call('TIME')
local life = tonumber(ARGV[2]) - (time[1] * 1000 + math.floor(time[2] / 1000))
if life < 1 then
    return redis.call('DEL', KEYS[1])
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', string.format('%.0f', math.min(life, tonumber(ARGV[3]))))
return 0
