-- Takes a record away, and announces it. Also when it was not there: evicted from the store, its session may still be
-- known to gateways. Returns how many were.
-- KEYS: the record
-- ARGV: the channel, the message
local ended = redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[1], ARGV[2])
return ended
