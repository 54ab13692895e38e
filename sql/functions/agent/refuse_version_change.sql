-- Refuses to change or delete an agent version, because sessions run on it.
create or replace function refuse_change_of_agent_version() returns trigger language plpgsql
set search_path = textback, pg_temp as $$
begin
    raise exception 'agent versions never change: make a new version instead'
        using errcode = 'TB001', constraint = 'agent_versions_never_change';
end $$;

create or replace trigger agent_versions_never_change before update or delete on agent_version
    for each row execute function refuse_change_of_agent_version();
