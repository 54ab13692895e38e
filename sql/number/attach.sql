-- Attaches a number ($3) to a project ($2) and an agent ($4); one that is attached gets the agent, and one that was
-- detached comes back with all that is known of it. What was texted in between is not ours.
insert into number (id, project_id, number, agent_id, carrier_sid, country)
values ($1, $2, $3, $4, $5, $6)
on conflict (project_id, number)
do update set agent_id = excluded.agent_id, carrier_sid = excluded.carrier_sid, country = excluded.country, webhook_set_at = null,
              registration = 'unknown',
              attached_at = case when number.detached_at is null then number.attached_at else now() end,
              heard_until = case when number.detached_at is null then number.heard_until else now() end,
              detached_at = null
returning id, number, agent_id, carrier_sid, webhook_set_at, created_at
