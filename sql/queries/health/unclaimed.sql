-- Kinds of work with rows that could have been claimed for over $1 seconds: how many rows could be
-- claimed now, and how long the oldest could have been. Rows that a worker holds are left out, and
-- rows that wait for an earlier text to the same contact. Held rows of a kind say nothing about its
-- other rows: a process leases the turns of texts that it ingests without a claim.
select kind as "kind!: _", count(*) as "due!", extract(epoch from now() - min(since))::float8 as "seconds!"
  from (select 'turn' as kind, greatest(due_at, leased_until) as since
          from turn where due_at <= now() and (leased_until is null or leased_until < now())
        union all
        select case when status = 'unknown' then 'unknown' else 'delivery' end, greatest(due_at, leased_until)
          from delivery
         where due_at <= now() and (leased_until is null or leased_until < now())
           and (status <> 'planned' or not exists (
               select from delivery earlier
                where earlier.number_id = delivery.number_id and earlier.contact = delivery.contact
                  and earlier.due_at is not null and earlier.seq < delivery.seq))
        union all
        select 'inactivity', due_at from inactivity where due_at <= now()
        union all
        select 'scheduled_message', due_at from scheduled_message where due_at <= now()
        union all
        select 'number', greatest(check_at, leased_until)
          from number where check_at <= now() and (leased_until is null or leased_until < now())
        union all
        select 'backfill', backfill_at from number where backfill_at <= now()) waiting
 group by kind
having min(since) < now() - make_interval(secs => $1)
 order by kind
