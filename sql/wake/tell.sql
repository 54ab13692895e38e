-- Tells the other processes which kinds of work wait. Never part of a transaction that writes.
select pg_notify($1, $2)
