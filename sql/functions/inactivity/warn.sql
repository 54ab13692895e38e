-- Stores that sessions are warned, with the messages that warn their contacts, and when their jobs
-- come due next. The caller has locked the sessions and their contacts.
create or replace function warn_inactive_sessions(sessions uuid[], next_at timestamptz[], messages planned_message[])
returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    perform store_messages(messages);
    update session set status = 'warned', warned_at = now()
      from unnest(sessions) as warned (id)
     -- Each is looked up, and then written by its ctid: a join may read the whole index.
     cross join lateral (select known.ctid as row_ctid from session known where known.id = warned.id limit 1) locked
     where session.ctid = locked.row_ctid;
    update inactivity set due_at = warned.due_at
      from unnest(sessions, next_at) as warned (session_id, due_at)
     cross join lateral (
           select job.ctid as row_ctid from inactivity job where job.session_id = warned.session_id limit 1) job
     where inactivity.ctid = job.row_ctid;
end $$;
