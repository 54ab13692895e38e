-- Makes a version the one that new sessions of an environment get, and records that. A version that
-- is active already is not recorded again. The caller holds the lock of the agent's row.
create or replace function activate_version(of_agent uuid, in_environment text, wanted integer) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    insert into active_version (agent_id, environment, version) values (of_agent, in_environment, wanted)
    on conflict on constraint active_version_pk do update set version = wanted where active_version.version <> wanted;
    if found then
        insert into activation (agent_id, environment, version) values (of_agent, in_environment, wanted);
    end if;
end $$;
