-- One attached number of a project ($1), by its id ($2).
select id, number, agent_id, carrier_sid, webhook_set_at, created_at
  from number where project_id = $1 and id = $2 and detached_at is null
