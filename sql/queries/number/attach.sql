-- Records that a project ($2) wants a number ($3) attached: answered by an agent ($4), in a country ($5), bought if need be
-- ($6), its webhooks repaired when they drift ($7). The new id is $1, the generation $8. A number that was detached comes back
-- with its row; messages that came in between are not ours. The caller reconciles the number at once; workers do it later if
-- the caller did not finish. No row: the number is being released right now, which can't be undone.
insert into number (id, project_id, number, agent_id, country, may_buy, repair_drift, generation, check_at)
values ($1, $2, $3, $4, $5, $6, coalesce($7, true), $8, now() + interval '2 minutes')
on conflict (project_id, number)
do update set agent_id = excluded.agent_id, country = excluded.country, may_buy = excluded.may_buy, repair_drift = coalesce($7, number.repair_drift),
              desired_state = 'attached', generation = excluded.generation, check_at = now() + interval '2 minutes',
              -- The request may come because the webhooks were changed since they were set.
              webhook_set_at = null,
              webhook = case when number.detached_at is null then number.webhook else 'pending' end,
              webhook_detail = case when number.detached_at is null then number.webhook_detail end,
              attached_at = case when number.detached_at is null then number.attached_at else now() end,
              backfilled_until = case when number.detached_at is null then number.backfilled_until else now() end,
              detached_at = null
        where number.desired_state <> 'released' or number.detached_at is not null or number.leased_until is null or number.leased_until < now()
returning id
