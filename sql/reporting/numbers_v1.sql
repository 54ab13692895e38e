-- Numbers, with the facts that decide about their health. The rule is src/numbers/health.rs, and is
-- not repeated here.
create or replace view reporting.numbers_v1 with (security_barrier) as
select number.project_id, number.id as number_id, number.number as address, number.country, number.number_type,
       endpoint.agent_id, agent.name as agent_name, endpoint.detached_at is null as is_attached, number.desired_state,
       number.refusal_reason, number.webhook, number.inbound_blocked_reason is not null as is_inbound_blocked,
       number.registration, number.send_policy, number.pool_id is not null as is_in_a_pool, number.attached_at,
       number.checked_at, number.check_at,
       extract(epoch from greatest(now() - number.check_at, interval '0'))::double precision as check_late_seconds,
       number.backfilled_until,
       case when number.backfill_at is not null then extract(epoch from now() - number.backfilled_until)::double precision end
           as backfill_lag_seconds
  from number
  join endpoint on endpoint.id = number.id
  left join agent on agent.id = endpoint.agent_id
 where number.project_id in (select project_id from reporting.projects_v1);

comment on view reporting.numbers_v1 is 'One row for each number of a project, with what decides about its health. "textback doctor" and GET /v1/numbers say what is wrong in words.';
comment on column reporting.numbers_v1.project_id is 'Id of the project of the number.';
comment on column reporting.numbers_v1.number_id is 'Id of the number.';
comment on column reporting.numbers_v1.address is 'The number in E.164 or as a short code.';
comment on column reporting.numbers_v1.country is 'Country of the number (ISO 3166-1 alpha-2). Null: its digits don''t tell.';
comment on column reporting.numbers_v1.number_type is 'Type at the carrier: local, mobile, toll-free or short-code. Null: not observed yet.';
comment on column reporting.numbers_v1.agent_id is 'Id of the agent that answers new sessions.';
comment on column reporting.numbers_v1.agent_name is 'Name of that agent.';
comment on column reporting.numbers_v1.is_attached is 'Whether the number is in use.';
comment on column reporting.numbers_v1.desired_state is 'What the project wants of the number: attached, detached or released.';
comment on column reporting.numbers_v1.refusal_reason is 'Why the number can''t be used: not_owned, not_for_sale or no_texts. Null: it can.';
comment on column reporting.numbers_v1.webhook is 'Whether the carrier sends inbound messages to textback: pending, ok, drifted or unreachable.';
comment on column reporting.numbers_v1.is_inbound_blocked is 'Whether inbound messages do not arrive although the webhook is right.';
comment on column reporting.numbers_v1.registration is 'Registration at the carrier: not_required, unregistered, pending, approved, rejected or unknown.';
comment on column reporting.numbers_v1.send_policy is 'What happens to outbound messages: open (sent), held (wait for the registration) or blocked (fail).';
comment on column reporting.numbers_v1.is_in_a_pool is 'Whether the number is in a pool of the carrier.';
comment on column reporting.numbers_v1.attached_at is 'Time at which the number was attached last.';
comment on column reporting.numbers_v1.checked_at is 'Time at which the number was last compared with the carrier. Null: never.';
comment on column reporting.numbers_v1.check_at is 'Time at which that is due next. Null: the number is detached.';
comment on column reporting.numbers_v1.check_late_seconds is 'Seconds for which the next check has been due. 0: it is not due yet.';
comment on column reporting.numbers_v1.backfilled_until is 'Time up to which all inbound messages of the carrier are known to be stored.';
comment on column reporting.numbers_v1.backfill_lag_seconds is 'Seconds since backfilled_until. Null: the number is detached.';
