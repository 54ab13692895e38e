-- Schedules the inactivity job of a session after a message. The caller has locked the session's
-- row. is_new: the session has no job yet. Otherwise it writes only if the job would come too late,
-- because the agent's time was made shorter: a job that comes too early moves itself.
create or replace function schedule_inactivity(of_session uuid, inactivity_after integer, is_new boolean) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    inactive_at timestamptz := now() + make_interval(secs => inactivity_after);
begin
    if is_new then
        insert into inactivity (session_id, project_id, due_at)
        select id, project_id, inactive_at from session where id = of_session
        on conflict on constraint a_session_has_one_inactivity_job do nothing;
    else
        update inactivity set due_at = inactive_at where session_id = of_session and due_at > inactive_at;
    end if;
end $$;
