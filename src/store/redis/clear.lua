-- Forgets a lock and announces that it is open.
-- KEYS: the lock
-- ARGV: the channel, the message
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', ARGV[1], ARGV[2])
return 1
