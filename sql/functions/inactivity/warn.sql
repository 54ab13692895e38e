-- Warns the contacts of sessions that end soon, with messages of these ids and bodies. The caller has locked the sessions
-- and their contacts. Returns for each session the project's limit that suppressed its warning, or null.
create or replace function warn_inactive_sessions(
    sessions uuid[], message_ids uuid[], bodies text[], encodings text[], segments integer[]
)
returns table (session_id uuid, refused text) language plpgsql
set search_path = textback, pg_temp as $$
declare
    warning record;
begin
    for warning in
        select session.id, session.project_id, session.endpoint_id, session.contact, session.warn_after_seconds,
               version.grace_seconds, warned.message_id, warned.body, warned.encoding, warned.segments
          from unnest(sessions, message_ids, bodies, encodings, segments) as warned (session_id, message_id, body, encoding, segments)
         cross join lateral (select * from session where session.id = warned.session_id limit 1) session
          join agent on agent.id = session.agent_id
          join agent_version version on version.agent_id = agent.id and version.version = agent.current_version
    loop
        session_id := warning.id;
        refused := plan_message(warning.message_id, warning.project_id, warning.id, warning.endpoint_id, warning.contact,
                                'warning', warning.body, warning.encoding, warning.segments, null, warning.warn_after_seconds, null, false, true);
        update session set status = 'warned', warned_at = now() where id = warning.id;
        update inactivity set due_at = now() + make_interval(secs => warning.grace_seconds)
         where inactivity.session_id = warning.id;
        perform expedite_inactivity(delivery.id) from delivery
          where delivery.id = warning.message_id and delivery.status in ('failed', 'suppressed');
        return next;
    end loop;
end $$;
