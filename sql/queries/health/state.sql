-- The newest migration that was applied, whether this database only reads (a standby, or set so), and which functions of
-- those named in $1 it lacks.
select max(version), current_setting('transaction_read_only') = 'on',
       array(select name from unnest($1::text[]) as called (name)
              where not exists (select from pg_proc where proname = name and pronamespace = 'textback'::regnamespace))
  from _sqlx_migrations where success
