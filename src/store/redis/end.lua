-- Takes a record away, and announces it when it was there. Returns how many were.
-- KEYS: the record
-- ARGV: the channel, the message
local ended = redis.call('DEL', KEYS[1])
if ended > 0 then
    redis.call('PUBLISH', ARGV[1], ARGV[2])
end
return ended
