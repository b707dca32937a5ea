-- Notes that a member was seen now; forgets those whose time is over, and of too many those seen longest ago.
-- KEYS: the members, each with "<when seen> <until when it is remembered>"
-- ARGV: the member, how long to remember it, how many are kept
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = now + tonumber(ARGV[2])
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %.0f', now, ends))
local members, longest = {}, ends
local fields = redis.call('HGETALL', KEYS[1])
for at = 1, #fields, 2 do
    local seen, till = string.match(fields[at + 1], '^(%d+) (%d+)$')
    if not seen or tonumber(till) <= now then
        redis.call('HDEL', KEYS[1], fields[at])
    else
        members[#members + 1] = { fields[at], tonumber(seen) }
        longest = math.max(longest, tonumber(till))
    end
end
table.sort(members, function(one, other)
    -- What was noted just now is the newest even within one millisecond.
    if one[1] == ARGV[1] or other[1] == ARGV[1] then
        return one[1] == ARGV[1] and other[1] ~= ARGV[1]
    end
    return one[2] > other[2]
end)
for at = tonumber(ARGV[3]) + 1, #members do
    redis.call('HDEL', KEYS[1], members[at][1])
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', longest - now))
return 1
