-- Claims unknown deliveries whose time to be looked for has come ($1 at most), for $2 seconds under the token $3.
with due as (
    select id from delivery
     where due_at <= now() and status = 'unknown' and (leased_until is null or leased_until < now())
     order by due_at
     limit $1
       for update skip locked
), claimed as (
    update delivery set lease_token = $3, leased_until = now() + make_interval(secs => $2)
      from due
     where delivery.id = due.id
    returning delivery.*
)
select claimed.id,
       claimed.lease_token as token,
       claimed.project_id,
       number.number as "from",
       claimed.contact as "to",
       message.body,
       claimed.attempted_at
  from claimed
  join message on message.id = claimed.message_id
  join number on number.id = claimed.number_id
 order by claimed.attempted_at
