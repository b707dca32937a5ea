-- Writes a session's record until its end, or takes it away when that is over. Run alone, or with `enter.lua` behind it.
-- KEYS: the record, which is the last
-- ARGV: the record's text, its end, the longest life of a key, which are the last
local time = redis.call('TIME')
local life = tonumber(ARGV[#ARGV - 1]) - (time[1] * 1000 + math.floor(time[2] / 1000))
if life < 1 then
    redis.call('DEL', KEYS[#KEYS])
else
    life = string.format('%.0f', math.min(life, tonumber(ARGV[#ARGV])))
    redis.call('SET', KEYS[#KEYS], ARGV[#ARGV - 2], 'PX', life)
end
