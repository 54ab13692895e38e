-- Claims at most $1 unknown deliveries that are due to be looked for, for $6 seconds under the
-- token $7. Projects: none of $2, of those in $3 at most as many as $4 says, $5 of each other
-- project. If $8 is not null, only these deliveries.
with waiting as (
    select id, project_id, due_at from delivery
     where due_at <= now() and status = 'unknown' and (leased_until is null or leased_until < now())
       and project_id <> all ($2) and ($8::uuid[] is null or id = any ($8))
     order by due_at
     limit $1
       for update skip locked
), listed as (
    select array_agg(id order by due_at) as ids, array_agg(project_id order by due_at) as projects from waiting
), due as (
    select listed.ids[ordinal] as id from listed, within_quotas(listed.projects, $3, $4, $5) as ordinal
), claimed as (
    update delivery set lease_token = $7, leased_until = now() + make_interval(secs => $6)
     -- By an array, and below by "limit 1", as in delivery/claim.
     where id = any (array(select due.id from due))
    returning delivery.*
)
select claimed.id,
       claimed.lease_token as "token!",
       claimed.project_id,
       claimed.session_id,
       (select number from number where number.id = claimed.number_id limit 1) as "from!",
       claimed.contact as "to",
       message.body as "body!",
       message.turn_id,
       claimed.attempted_at as "attempted_at!"
  from claimed
  left join lateral (select body, turn_id from message where message.id = claimed.id limit 1) message on true
 order by claimed.attempted_at
