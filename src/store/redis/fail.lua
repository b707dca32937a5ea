-- Counts a failure and locks from the limit-th on: a second, doubled by every further one, up to fifteen minutes. The
-- key's own expiry is what forgets: the window after the first failure, or after the end of the last lock.
-- KEYS: the lock
-- ARGV: the limit, the window, the channel, the lock's key as it is announced
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
local ends = tonumber(redis.call('HGET', KEYS[1], 'until') or '0') or 0
if failures >= tonumber(ARGV[1]) then
    local lock = math.min(1000 * 2 ^ math.min(failures - tonumber(ARGV[1]), 10), 900000)
    ends = now + lock
    redis.call('HSET', KEYS[1], 'until', string.format('%.0f', ends))
    redis.call('PEXPIRE', KEYS[1], string.format('%.0f', lock + tonumber(ARGV[2])))
elseif redis.call('PTTL', KEYS[1]) < 0 then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
failures = string.format('%.0f', math.min(failures, 4294967295))
ends = string.format('%.0f', ends > now and ends or 0)
redis.call('PUBLISH', ARGV[3], 'lock ' .. failures .. ' ' .. ends .. ' ' .. ARGV[4])
return {failures, ends}
