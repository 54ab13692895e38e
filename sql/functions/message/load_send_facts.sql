-- What decides about a text to a contact: domain/sending.rs. countries: the countries that the
-- contact may be in. Locks the contact, unless the caller has, and the session that is not closed.
create or replace function load_send_facts(
    of_project uuid, from_number uuid, to_contact text, countries text[], heeds_quiet_hours boolean, on_channel text
) returns jsonb language plpgsql
set search_path = textback, pg_temp as $$
declare
    active record;
begin
    -- By a statement of its own: the snapshot of a statement is older than a lock that the
    -- statement takes.
    perform lock_contact(from_number, to_contact);
    select id, status, engaged, origin, started_at is not null as is_started into active from session
     where endpoint_id = from_number and contact = to_contact and channel = on_channel and status <> 'closed'
       for update;
    return jsonb_build_object(
        'now', now(),
        'agent_id', (select agent_id from endpoint where id = from_number and project_id = of_project and detached_at is null),
        'to_is_from', exists (select from number where id = from_number and number = to_contact),
        'opted_out', has_opted_out(from_number, to_contact),
        'country_is_allowed', country_is_allowed(of_project, to_contact, countries),
        'landline_since', landline_since(of_project, to_contact),
        'quiet_hours', (
            select jsonb_build_object('from', quiet_from, 'until', quiet_until)
              from project where heeds_quiet_hours and id = of_project and quiet_from is not null),
        'session', case when active.id is not null then to_jsonb(active) end,
        'send_policy', lock_send_policy(from_number),
        'has_limits', (select has_outbound_limits from project where id = of_project),
        'smart_encoding', uses_smart_encoding(from_number));
end $$;
