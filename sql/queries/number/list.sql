-- The attached numbers of a project ($1), newest first, before one ($2), at most $3.
select number.id, number.project_id, number.number, endpoint.agent_id, endpoint.environment as "environment: _", number.country, number.desired_state as "desired_state: _", number.generation, number.may_buy, number.carrier_id, number.account_sid, number.refusal_reason as "refusal_reason: _",
       number.number_type, number.webhook as "webhook: _", number.webhook_detail, number.repair_drift, number.webhook_set_at, number.inbound_blocked_reason, number.pool_id, number.registration as "registration: _",
       number.registration_detail, number.send_policy as "send_policy: _", number.steps, number.checked_at, endpoint.created_at,
       registration_policy_of(number.project_id, number.country) as "registration_policy!: _"
  from number join endpoint on endpoint.id = number.id
 where number.project_id = $1 and endpoint.detached_at is null and ($2::uuid is null or number.id < $2)
 order by number.id desc
 limit $3
