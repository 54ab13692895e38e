-- Finds the session of an endpoint and a contact that is not closed, and locks its row; or opens a
-- new one. Returns its id. The caller holds the contact's lock.
create or replace function find_or_open_session(
    new_id uuid, of_project uuid, of_endpoint uuid, of_contact text, on_channel text, by_agent uuid, from_origin text
) returns uuid language plpgsql
set search_path = textback, pg_temp as $$
declare
    found_id uuid;
    previous record;
begin
    select id into found_id from session
     where endpoint_id = of_endpoint and contact = of_contact and channel = on_channel and status <> 'closed'
       for update;
    if found then
        return found_id;
    end if;

    select id, paused_until into previous from session
     where project_id = of_project and contact = of_contact and endpoint_id = of_endpoint and channel = on_channel
     order by id desc limit 1;

    insert into session (id, project_id, endpoint_id, contact, channel, status, origin, engaged,
                         agent_id, agent_version, environment, warn_after_seconds, previous_session_id, paused_until)
    select new_id, of_project, of_endpoint, of_contact, on_channel, 'open', from_origin, false,
           active.agent_id, active.version, active.environment, version.warn_after_seconds, previous.id, previous.paused_until
      from endpoint
      join active_version active on active.agent_id = by_agent and active.environment = endpoint.environment
      join agent_version version on version.agent_id = active.agent_id and version.version = active.version
     where endpoint.id = of_endpoint;
    if previous.id is not null then
        -- A closing message that was not sent yet would arrive after the new session began.
        perform withdraw_stale_deliveries(of_endpoint, of_contact, '{warning,closing}');
    end if;
    return new_id;
end $$;
