-- Raises a watermark, never lowers it, and announces where it stands. A text in its place that is no time is replaced, and
-- so is a key that is no hash: whoever wants to revoke must be able to.
-- KEYS: the account's watermarks
-- ARGV: the field, the time, how long to keep it, the channel, the message up to the time
local mark = ARGV[2]
local known = redis.pcall('HGET', KEYS[1], ARGV[1])
if type(known) == 'table' and not string.find(known.err, 'WRONGTYPE', 1, true) then
    return known
elseif type(known) == 'table' then
    redis.call('DEL', KEYS[1])
elseif known and #known < 16 and string.match(known, '^%d+$') and tonumber(known) > tonumber(mark) then
    mark = known
end
redis.call('HSET', KEYS[1], ARGV[1], mark)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[5] .. mark)
return mark
