-- Takes cells of every bucket, or of none. What is owed is taken in any case, as far as there is room for debt.
-- KEYS: the buckets
-- ARGV: for each the nanoseconds of one cell, of all its cells, and of what is owed; the cells of a lease, and the
-- nanoseconds that have to be left for one
-- Returns the time, then for each the cells that were given, and the debt.
local found, enough = {}, true
for place, key in ipairs(KEYS) do
    local cell, capacity, owed = unpack(ARGV, place * 5 - 4, place * 5 - 2)
    capacity = tonumber(capacity)
    local at, debt = level(key, capacity)
    if not at then
        return unreadable
    end
    debt = math.min(debt + owed, capacity)
    enough = enough and debt + cell <= capacity
    found[place] = { at, debt }
end
local answer = { now }
for place, key in ipairs(KEYS) do
    local cell, capacity, owed, lease, many = unpack(ARGV, place * 5 - 4, place * 5)
    local at, debt = unpack(found[place])
    local granted = 0
    if enough and capacity - debt >= tonumber(many) then
        granted = tonumber(lease)
    elseif enough then
        granted = 1
    end
    debt = debt + granted * cell
    if granted > 0 or owed ~= '0' then
        write(key, at, debt)
    else
        shorten(key, at, debt)
    end
    answer[place * 2] = granted
    answer[place * 2 + 1] = debt
end
return answer
