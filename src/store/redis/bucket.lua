-- The buckets of quotas; run with `draw.lua` or `give_back.lua` behind it. A record is "<at> <debt>": microseconds of the
-- server's clock, and the nanoseconds until the bucket was full then. Every number stays below 2^53, up to which all
-- whole numbers are exact. A record that is not one is an error, never a bucket full or empty.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local unreadable = redis.error_reply('WRONGTYPE the record of a quota is not what it should be')

-- When the bucket was looked at last, which is now unless the clock went back, and its debt; nothing where the record is
-- no record. While the clock is behind, no time passes for the bucket: what passed already does not pass once more.
local function level(key, capacity)
    local record = redis.call('GETRANGE', key, 0, 33)
    if record == '' and redis.call('EXISTS', key) == 0 then
        return now, 0
    end
    local at, debt = string.match(record, '^(%d+) (%d+)$')
    at, debt = tonumber(at), tonumber(debt)
    -- One that is longer was cut off.
    if not at or #record > 33 or at >= 2 ^ 53 or debt > capacity then
        return nil
    end
    local passed = math.min(math.max(now - at, 0), 2 ^ 43)
    return math.max(at, now), math.max(debt - passed * 1000, 0)
end

-- How long a record is kept. The second more is for the expiry's clock, which is coarser than ours: no debt is forgotten
-- before it is over.
local function life(debt)
    return math.ceil(debt / 1000000) + 1000
end

local function write(key, at, debt)
    if debt == 0 then
        redis.call('DEL', key)
    else
        redis.call('SET', key, string.format('%.0f %.0f', at, debt), 'PX', string.format('%.0f', life(debt)))
    end
end

-- A record of a clock that was ahead is kept no longer than one of this clock: else a bucket that was empty when the clock
-- went back would refuse until the clock is there again.
local function shorten(key, at, debt)
    if at <= now then
        return
    end
    local left = redis.call('PTTL', key)
    if left < 0 or left > life(debt) then
        redis.call('PEXPIRE', key, string.format('%.0f', life(debt)))
    end
end

