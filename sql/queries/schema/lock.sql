-- Lets one migrate run at a time, until its transaction ends. From here on the transaction waits
-- for a lock no longer than a second, because the live traffic queues behind it.
select pg_advisory_xact_lock(hashtextextended('textback migrate', 0)), set_config('lock_timeout', '1s', true)
