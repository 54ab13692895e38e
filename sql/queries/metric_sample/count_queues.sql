-- How much work of each kind could be claimed now, and for how many seconds the oldest could have
-- been. Rows that a worker holds are left out, and rows that wait for an earlier message to the
-- same contact. At most $1 of each kind are counted, the oldest.
select 'turn' as "kind!: _", count(*) as "due!", coalesce(extract(epoch from now() - min(since)), 0)::float8 as "seconds!"
  from (select greatest(due_at, leased_until) as since from turn
         where due_at <= now() and (leased_until is null or leased_until < now())
         order by due_at limit $1) turn
union all
select 'delivery', count(*), coalesce(extract(epoch from now() - min(since)), 0)
  from (select greatest(due_at, leased_until) as since from delivery
         where due_at <= now() and status in ('planned', 'sending') and (leased_until is null or leased_until < now())
           and (status <> 'planned' or (
               select earlier.seq from delivery earlier
                where earlier.number_id = delivery.number_id and earlier.contact = delivery.contact
                  and earlier.due_at is not null and earlier.seq < delivery.seq
                limit 1) is null)
         order by due_at limit $1) delivery
union all
select 'unknown', count(*), coalesce(extract(epoch from now() - min(since)), 0)
  from (select greatest(due_at, leased_until) as since from delivery
         where due_at <= now() and status = 'unknown' and (leased_until is null or leased_until < now())
         order by due_at limit $1) unknown_delivery
union all
select 'inactivity', count(*), coalesce(extract(epoch from now() - min(due_at)), 0)
  from (select due_at from inactivity where due_at <= now() order by due_at limit $1) inactivity
union all
select 'scheduled_message', count(*), coalesce(extract(epoch from now() - min(due_at)), 0)
  from (select due_at from scheduled_message where due_at <= now() order by due_at limit $1) scheduled_message
union all
select 'number', count(*), coalesce(extract(epoch from now() - min(since)), 0)
  from (select greatest(check_at, leased_until) as since from number
         where check_at <= now() and (leased_until is null or leased_until < now())
         order by check_at limit $1) number
union all
select 'backfill', count(*), coalesce(extract(epoch from now() - min(backfill_at)), 0)
  from (select backfill_at from number where backfill_at <= now() order by backfill_at limit $1) backfill
union all
select 'rollup', count(*), coalesce(extract(epoch from now() - min(since)), 0)
  from (select greatest(due_at, leased_until) as since from rollup_progress
         where due_at <= now() and (leased_until is null or leased_until < now())) rollup
