-- Locks the contacts of a batch of inbound messages until the transaction ends. Returns the
-- endpoint of each message and the endpoint's agent, in the order of the messages; null where none
-- is attached. The locks cover only these. Every batch takes its locks in this order, so two
-- batches can't wait for each other.
create or replace function lock_inbound_contacts(
    messages inbound_message[], out endpoints uuid[], out agents uuid[], out environments text[]
) language plpgsql
set search_path = textback, pg_temp as $$
begin
    select array_agg(endpoint.id order by m.ordinality), array_agg(endpoint.agent_id order by m.ordinality),
           array_agg(endpoint.environment::text order by m.ordinality)
      into endpoints, agents, environments
      from unnest(messages) with ordinality m
      left join lateral (
           select number.id from number
            where m.endpoint_id is null and number.project_id = m.project_id and number.number = m."to" limit 1) number on true
      left join lateral (
           select endpoint.id, endpoint.agent_id, endpoint.environment from endpoint
            where endpoint.id = coalesce(m.endpoint_id, number.id) and endpoint.project_id = m.project_id
              and endpoint.detached_at is null
            limit 1) endpoint on true;
    -- Not lock_contact, because a call for each message cost 4 us.
    perform pg_advisory_xact_lock(contact_lock_key(contact.endpoint_id, contact."from"))
       from (select endpoint.id as endpoint_id, m."from"
               from unnest(messages) with ordinality m
               join unnest(endpoints) with ordinality endpoint (id, ordinality) on endpoint.ordinality = m.ordinality
              where endpoint.id is not null
              order by endpoint.id, m."from") contact;
end $$;
