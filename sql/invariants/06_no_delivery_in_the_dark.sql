-- Every delivery that is due can be claimed: its lease has not ended more than 5 minutes ago, it is
-- not unknown for over a day (the upper bound of TEXTBACK_UNKNOWN_SETTLE_SECONDS), and its status
-- is planned, sending or unknown. A message of the carrier belongs to one delivery.
create or replace view invariant_06_no_delivery_in_the_dark as
select id as delivery_id, session_id, status, leased_until, attempted_at
  from delivery
 where due_at is not null
   and (leased_until < now() - interval '5 minutes'
        or (status = 'unknown' and attempted_at < now() - interval '1 day 1 hour')
        or status not in ('planned', 'sending', 'unknown'))
union all
select min(id::text)::uuid, null, 'twice at the carrier', null, null
  from delivery
 where carrier_id is not null
 group by project_id, carrier_id
having count(*) > 1
