-- One attached number of a project ($1), by its id ($2).
select number.id, number.project_id, number.number, number.agent_id, number.country, number.desired_state, number.generation, number.may_buy, number.carrier_sid, number.account_sid, number.refusal_reason,
       number.number_type, number.webhook, number.webhook_detail, number.mend_drift, number.webhook_set_at, number.inbound_blocked_reason, number.registration,
       number.registration_detail, number.send_policy, number.steps, number.checked_at, number.created_at,
       registration_policy_of(number.project_id, number.country) as registration_policy
  from number where project_id = $1 and id = $2 and detached_at is null
