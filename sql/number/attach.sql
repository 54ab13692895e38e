-- Attaches a number ($3) to a project ($2) and an agent ($4); one that is attached gets the agent.
insert into number (id, project_id, number, agent_id, carrier_sid)
values ($1, $2, $3, $4, $5)
on conflict (project_id, number) where detached_at is null
do update set agent_id = excluded.agent_id, carrier_sid = excluded.carrier_sid, webhook_set_at = null
returning id, number, agent_id, carrier_sid, webhook_set_at, created_at
