-- Locks scheduled messages that are due, the oldest first, at most `most`: the contact and the
-- message. only_these: if not null, only these messages. It takes the contact's lock first, without
-- waiting, and locks the row under it, as lock_due_inactivity does. Of a message to a pool it locks
-- the pool and the contact instead: the caller chooses the number.
create or replace function lock_due_messages(most integer, only_these uuid[])
returns table (message_id uuid, project_id uuid, number_id uuid, pool_id text, contact text) language plpgsql
set search_path = textback, pg_temp as $$
declare
    job    record;
    locked integer := 0;
begin
    for job in
        select due.id, due.project_id, due.number_id, due.pool_id, due.contact from scheduled_message due
         where due.due_at <= now() and (only_these is null or due.id = any (only_these))
         order by due.due_at
         -- As in lock_due_inactivity.
         limit most::bigint * 4
    loop
        exit when locked = most;
        if job.pool_id is null then
            continue when not try_lock_contact(job.number_id, job.contact);
        else
            continue when not pg_try_advisory_xact_lock(pool_lock_key(job.project_id, job.pool_id, job.contact));
        end if;
        -- Another transaction may have sent, cancelled or delayed it meanwhile.
        perform from scheduled_message due where due.id = job.id and due.due_at <= now() for update skip locked;
        if found then
            locked := locked + 1;
            message_id := job.id;
            project_id := job.project_id;
            number_id := job.number_id;
            pool_id := job.pool_id;
            contact := job.contact;
            return next;
        end if;
    end loop;
end $$;
