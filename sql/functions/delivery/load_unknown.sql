-- Locks an unknown delivery and its contact, and returns what decides about it
-- (domain/unknown_delivery.rs). candidates: the ids of messages in the carrier's list that may be
-- this delivery, oldest first. found_carrier_id: the first of them that is no other delivery's,
-- however alike the messages are. No row: the token is no longer this delivery's.
create or replace function load_unknown_delivery(of_delivery uuid, by_token uuid, candidates text[])
returns table ("now" timestamptz, attempted_at timestamptz, found_carrier_id text, absences bigint) language plpgsql
set search_path = textback, pg_temp as $$
begin
    -- The delivery may be planned again, which needs the contact's lock: see opt_out.
    perform lock_contact(delivery.number_id, delivery.contact) from delivery where delivery.id = of_delivery;
    return query
    select now(), delivery.attempted_at,
           (select listed.carrier_id from unnest(candidates) with ordinality as listed (carrier_id, ordinal)
             where not exists (
                       select from delivery other
                        where other.project_id = delivery.project_id and other.carrier_id = listed.carrier_id)
             order by listed.ordinal
             limit 1),
           (select count(*) from jsonb_array_elements(delivery.history) step
             where step ->> 'by' = 'list' and step ->> 'status' = 'planned')
      from delivery
     where delivery.id = of_delivery and delivery.lease_token = by_token and delivery.status = 'unknown'
       for update of delivery;
end $$;
