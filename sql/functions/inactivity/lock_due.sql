-- Locks sessions whose inactivity job is due, the oldest job first, at most `most`: the contact,
-- the job and the session. only_these: if not null, only these sessions. Returns the sessions.
--
-- It takes the lock of each contact first, without waiting: a transaction that holds it is about to
-- write a message, and the job stays due. It skips a job that is locked, because
-- expedite_inactivity locks a job without its contact's lock. So it never waits for a job. A
-- settlement of deliveries may wait for one while it holds the rows of a project's count (see
-- uncount_outbound). If that ends in a deadlock, PostgreSQL ends one of the two, and its caller
-- repeats it.
create or replace function lock_due_inactivity(most integer, only_these uuid[]) returns uuid[] language plpgsql
set search_path = textback, pg_temp as $$
declare
    job    record;
    locked uuid[] := '{}';
begin
    for job in
        select inactivity.session_id, session.endpoint_id, session.contact
          from inactivity
          join session on session.id = inactivity.session_id
         where inactivity.due_at <= now() and (only_these is null or inactivity.session_id = any (only_these))
         order by inactivity.due_at
         -- Another worker may hold the contacts of the first jobs; this one goes on to the next.
         limit most::bigint * 4
    loop
        exit when cardinality(locked) = most;
        continue when not try_lock_contact(job.endpoint_id, job.contact);
        -- Another worker may have decided about it meanwhile.
        perform from inactivity
          where inactivity.session_id = job.session_id and inactivity.due_at <= now()
            for update skip locked;
        if found then
            perform from session where session.id = job.session_id for update;
            locked := locked || job.session_id;
        end if;
    end loop;
    return locked;
end $$;
