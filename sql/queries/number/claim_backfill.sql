-- Claims at most $1 numbers whose inbound messages are due to be backfilled, and makes them due
-- again in $6 seconds. Projects: none of $2, of those in $3 at most as many as $4 says, $5 of each
-- other project. If $7 is not null, only these numbers. No lease: reading twice does no harm,
-- because a text is stored once.
with waiting as (
    select id, project_id, backfill_at from number
     where backfill_at <= now()
       and project_id <> all ($2) and ($7::uuid[] is null or id = any ($7))
     order by backfill_at
     limit $1
       for update skip locked
), listed as (
    select array_agg(id order by backfill_at) as ids, array_agg(project_id order by backfill_at) as projects from waiting
), due as (
    select listed.ids[ordinal] as id from listed, within_quotas(listed.projects, $3, $4, $5) as ordinal
)
update number set backfill_at = now() + make_interval(secs => $6)
  from due
 where number.id = due.id
returning number.id, number.project_id, number.number, number.attached_at, number.backfilled_until
