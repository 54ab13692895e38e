-- Kinds of work of which something could have been claimed for over $1 seconds: how much could be claimed now, and for how long the oldest
-- could have been. What somebody holds is not told of, nor what waits for an earlier text to the same contact; and what somebody holds of
-- a kind says nothing of the rest: a process takes leases with the texts that it takes in, without a claim.
select kind, count(*) as due, extract(epoch from now() - min(since))::float8 as seconds
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
        select 'silence', due_at from silence where due_at <= now()
        union all
        select 'scheduled_message', due_at from scheduled_message where due_at <= now()
        union all
        select 'number', greatest(check_at, leased_until)
          from number where detached_at is null and check_at <= now() and (leased_until is null or leased_until < now())
        union all
        select 'read_back', read_back_at from number where detached_at is null and read_back_at <= now()) waiting
 group by kind
having min(since) < now() - make_interval(secs => $1)
 order by kind
