-- Gives back cells that were leased and not used. A bucket that is not there is full.
-- KEYS: the buckets
-- ARGV: for each the nanoseconds of all its cells, and of those that come back
local found = {}
for place, key in ipairs(KEYS) do
    local at, debt = level(key, tonumber(ARGV[place * 2 - 1]))
    if not at then
        return unreadable
    end
    found[place] = { at, debt }
end
for place, key in ipairs(KEYS) do
    local at, debt = unpack(found[place])
    if debt > 0 then
        write(key, at, math.max(debt - ARGV[place * 2], 0))
    end
end
return 1
