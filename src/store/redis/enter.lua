-- Enters a session into its account's index and says which sessions are too many, the oldest first, so many as one login
-- ends. They stay in the index until their records are gone: whoever stops half-way leaves them to the next login.
-- KEYS: the account's sessions by start, the same by the end of their records
-- ARGV: jti, start, end of the record, how many stay, how many one login ends, the longest life of a key
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local over = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now), 'LIMIT', 0, 1000)
for _, jti in ipairs(over) do
    redis.call('ZREM', KEYS[1], jti)
    redis.call('ZREM', KEYS[2], jti)
end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
local life = string.format('%.0f', math.min(math.max(last[2] - now, 1), tonumber(ARGV[6])))
redis.call('PEXPIRE', KEYS[1], life)
redis.call('PEXPIRE', KEYS[2], life)
local surplus = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[4])
-- While the index may still name some that are over, nobody knows how many of the others are too many.
if surplus <= 0 or #over == 1000 then
    return {}
end
return redis.call('ZRANGE', KEYS[1], 0, math.min(surplus, tonumber(ARGV[5])) - 1)
