-- The migrations that were applied, oldest first, with the checksums of their texts; whether this
-- database only reads, and whether that is because it is a standby; and which functions of those
-- named in $1 it lacks.
select coalesce(array_agg(version order by version), '{}') as "versions!", coalesce(array_agg(checksum order by version), '{}') as "checksums!",
       current_setting('transaction_read_only') = 'on' as "is_read_only!", pg_is_in_recovery() as "is_standby!",
       array(select name from unnest($1::text[]) as called (name)
              where not exists (select from pg_proc where proname = name and pronamespace = 'textback'::regnamespace)) as "missing_functions!"
  from _sqlx_migrations where success
