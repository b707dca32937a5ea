-- Takes records away, and announces each. Also those that were not there: evicted from the store, their sessions may still
-- be known to gateways. Returns for each whether it was there, as 1 or 0.
-- KEYS: the records
-- ARGV: the channel, the message for each
local ended = {}
for at, record in ipairs(KEYS) do
    ended[at] = redis.call('DEL', record)
    redis.call('PUBLISH', ARGV[1], ARGV[at + 1])
end
return ended
