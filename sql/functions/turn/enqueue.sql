-- Inserts the turn of a session that has unhandled messages. A turn that is there already covers
-- them. The caller has locked the session's row.
create or replace function enqueue_turn(new_id uuid, of_session uuid) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    insert into turn (id, session_id, project_id, agent_id, due_at)
    select new_id, session.id, session.project_id, session.agent_id, now() + make_interval(secs => version.debounce_seconds)
      from session
      join agent_version version on version.agent_id = session.agent_id and version.version = session.agent_version
     where session.id = of_session
    on conflict on constraint a_session_has_one_turn_at_a_time do nothing;
end $$;
