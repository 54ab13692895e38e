-- Claims at most $1 numbers that are due for a check, for $6 seconds under the token $7. Projects:
-- none of $2, of those in $3 at most as many as $4 says, $5 of each other project. If $8 is not
-- null, only these numbers.
with waiting as (
    select id, project_id, check_at from number
     where check_at <= now() and (leased_until is null or leased_until < now())
       and project_id <> all ($2) and ($8::uuid[] is null or id = any ($8))
     order by check_at
     limit $1
       for update skip locked
), listed as (
    select array_agg(id order by check_at) as ids, array_agg(project_id order by check_at) as projects from waiting
), due as (
    select listed.ids[ordinal] as id from listed, within_quotas(listed.projects, $3, $4, $5) as ordinal
)
update number set lease_token = $7, leased_until = now() + make_interval(secs => $6)
  from due join endpoint on endpoint.id = due.id
 where number.id = due.id
returning number.id, number.project_id, number.number, endpoint.agent_id, endpoint.environment as "environment: _", number.country, number.desired_state as "desired_state: _", number.generation, number.may_buy, number.carrier_id, number.account_sid, number.refusal_reason as "refusal_reason: _",
       number.number_type, number.webhook as "webhook: _", number.webhook_detail, number.repair_drift, number.webhook_set_at, number.inbound_blocked_reason, number.pool_id, number.registration as "registration: _",
       number.registration_detail, number.send_policy as "send_policy: _", number.steps, number.checked_at, endpoint.created_at,
       registration_policy_of(number.project_id, number.country) as "registration_policy!: _"
