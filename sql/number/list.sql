-- The attached numbers of a project ($1), newest first, before one ($2), at most $3.
select id, number, agent_id, carrier_sid, webhook_set_at, created_at
  from number
 where project_id = $1 and detached_at is null and ($2::uuid is null or id < $2)
 order by id desc
 limit $3
