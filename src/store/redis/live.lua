-- Notes that a gateway lives, and counts those that were heard within the time after which one counts as gone.
-- KEYS: the gateways, by when they were heard
-- ARGV: the gateway, that time in milliseconds
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local heard = string.format('%.0f', now)
local noted = redis.pcall('ZADD', KEYS[1], heard, ARGV[1])
if type(noted) == 'table' and not string.find(noted.err, 'WRONGTYPE', 1, true) then
    return noted
elseif type(noted) == 'table' then
    -- Nobody else's to use: without it the share of an outage would be wrong for ever.
    redis.call('DEL', KEYS[1])
    redis.call('ZADD', KEYS[1], heard, ARGV[1])
end
-- Heard in the future: the clock went back. From now on they have to be heard like all others.
for _, gateway in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. heard, '+inf', 'LIMIT', 0, 1000)) do
    redis.call('ZADD', KEYS[1], heard, gateway)
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
