-- Notes that the carrier has confirmed the webhooks of a number ($1).
update number set webhook_set_at = now() where id = $1
returning id, number, agent_id, carrier_sid, webhook_set_at, created_at
