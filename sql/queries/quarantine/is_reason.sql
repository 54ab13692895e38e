-- Whether a word ($2) is the name of a constraint that can refuse a message, or of a trigger that
-- refuses one as a constraint does, or is why something is in the quarantine of a project ($1).
-- What is not unique is found by a retry, and is no reason.
select exists (select from pg_constraint
                where conname = $2 and connamespace = 'textback'::regnamespace and contype not in ('p', 'u'))
    or exists (select from pg_trigger join pg_class on pg_class.oid = tgrelid
                where tgname = $2 and relnamespace = 'textback'::regnamespace and not tgisinternal)
    or exists (select from quarantine where project_id = $1 and reason = $2) as "is_reason!"
