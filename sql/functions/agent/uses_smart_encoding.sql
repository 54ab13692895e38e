-- Whether the current version of an endpoint's agent wants smart encoding.
create or replace function uses_smart_encoding(of_endpoint uuid) returns boolean language plpgsql stable
set search_path = textback, pg_temp as $$
begin
    return coalesce(
        (select version.smart_encoding
           from endpoint
           join agent on agent.id = endpoint.agent_id
           join agent_version version on version.agent_id = agent.id and version.version = agent.current_version
          where endpoint.id = of_endpoint),
        false);
end $$;
