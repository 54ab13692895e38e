-- A delivery has at most one carrier message; none is sending long past its lease, none unknown for a day (the bound on
-- TEXTBACK_UNKNOWN_SETTLE_SECONDS), none is live without anybody who could claim it.
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
 where carrier_sid is not null
 group by project_id, carrier_sid
having count(*) > 1
