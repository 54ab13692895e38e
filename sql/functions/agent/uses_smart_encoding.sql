-- Whether the active version of an endpoint's agent wants smart encoding.
create or replace function uses_smart_encoding(of_endpoint uuid) returns boolean language plpgsql stable
set search_path = textback, pg_temp as $$
begin
    return coalesce(
        (select version.smart_encoding
           from endpoint
           join active_version active on active.agent_id = endpoint.agent_id and active.environment = endpoint.environment
           join agent_version version on version.agent_id = active.agent_id and version.version = active.version
          where endpoint.id = of_endpoint),
        false);
end $$;
