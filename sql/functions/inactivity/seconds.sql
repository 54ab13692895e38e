-- The inactivity after which a session is warned, by the current version of its agent.
create or replace function inactivity_seconds(of_session uuid) returns integer language plpgsql stable
set search_path = textback, pg_temp as $$
declare
    seconds integer;
begin
    select version.warn_after_seconds into seconds
      from session
      join active_version active on active.agent_id = session.agent_id and active.environment = session.environment
      join agent_version version on version.agent_id = active.agent_id and version.version = active.version
     where session.id = of_session;
    return seconds;
end $$;
