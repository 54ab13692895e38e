-- Tells the other processes which kinds of work wait. Never part of a transaction that writes.
-- Nobody waits for the disk here: a notice that a crash loses costs one interval.
select set_config('synchronous_commit', 'off', true), pg_notify($1, $2)
