-- The attached numbers of a project ($1), newest first, before one ($2), at most $3.
select number.id, number.project_id, number.number, number.agent_id, number.country, number.wanted as "wanted: _", number.wish, number.may_buy, number.carrier_sid, number.account_sid, number.refused as "refused: _",
       number.number_type, number.webhook as "webhook: _", number.webhook_detail, number.mend_drift, number.webhook_set_at, number.trap, number.registration as "registration: _",
       number.registration_detail, number.sends as "sends: _", number.steps, number.checked_at, number.created_at,
       registration_policy_of(number.project_id, number.country) as "registration_policy!: _"
  from number
 where project_id = $1 and detached_at is null and ($2::uuid is null or id < $2)
 order by id desc
 limit $3
