-- Claims deliveries that are due ($1 at most), for $6 seconds under the token $7: none of the projects $2, of those in
-- $3 at most as many as $4 says, $5 of each other one. They are 'sending' before the carrier is called: whatever
-- happens then, nobody believes them unsent.
--
-- A contact's texts leave in order: one is claimed only when no earlier one is live. A delivery
-- whose worker died in the middle of the call becomes 'unknown', for the carrier may have it.
with expired as (
    select id from delivery
     where due_at is not null and status = 'sending' and leased_until < now()
       for update skip locked
), lost as (
    update delivery
       set status = 'unknown', due_at = now(), lease_token = null, leased_until = null, updated_at = now(),
           error_class = 'ambiguous', error_detail = 'the worker that was sending it did not come back'
      from expired
     where delivery.id = expired.id
), waiting as (
    select d.id, d.project_id, d.due_at from delivery d
     where d.due_at <= now() and d.status = 'planned'
       and d.project_id <> all ($2)
       and not exists (
           select 1 from delivery earlier
            where earlier.number_id = d.number_id and earlier.contact = d.contact
              and earlier.due_at is not null and earlier.seq < d.seq)
     order by d.due_at
     limit $1
       for update of d skip locked
), due as (
    select placed.id
      from (select id, project_id, row_number() over (partition by project_id order by due_at) as place from waiting) placed
      left join unnest($3::uuid[], $4::integer[]) as room (project_id, places) on room.project_id = placed.project_id
     where placed.place <= coalesce(room.places, $5)
), claimed as (
    update delivery
       set status = 'sending', lease_token = $7, leased_until = now() + make_interval(secs => $6),
           attempts = delivery.attempts + 1, attempted_at = now(), updated_at = now()
      from due
     where delivery.id = due.id
    returning delivery.*
)
select claimed.id,
       claimed.lease_token as token,
       claimed.project_id,
       claimed.session_id,
       number.number as "from",
       claimed.contact as "to",
       message.body,
       claimed.attempts as attempt
  from claimed
  join message on message.id = claimed.message_id
  join number on number.id = claimed.number_id
 order by claimed.seq
