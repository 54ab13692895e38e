-- Notes that a project ($2) wants a number ($3) answered by an agent ($4), in a country ($5), bought if need be ($6), its
-- webhooks mended when they drift ($7). One that was detached comes back with all that is known of it; what was texted in
-- between is not ours. The new id is $1, the wish is $8. Who wishes looks at once; workers come to it later, if that one did not
-- come back. No row: it is being released at this moment, which can't be taken back.
insert into number (id, project_id, number, agent_id, country, may_buy, mend_drift, wish, check_at)
values ($1, $2, $3, $4, $5, $6, coalesce($7, true), $8, now() + interval '2 minutes')
on conflict (project_id, number)
do update set agent_id = excluded.agent_id, country = excluded.country, may_buy = excluded.may_buy, mend_drift = coalesce($7, number.mend_drift),
              wanted = 'attached', wish = excluded.wish, check_at = now() + interval '2 minutes',
              -- Who asks for it wants its texts here, whatever became of its webhooks since they were set.
              webhook_set_at = null,
              webhook = case when number.detached_at is null then number.webhook else 'pending' end,
              webhook_detail = case when number.detached_at is null then number.webhook_detail end,
              attached_at = case when number.detached_at is null then number.attached_at else now() end,
              heard_until = case when number.detached_at is null then number.heard_until else now() end,
              detached_at = null
        where number.wanted <> 'released' or number.detached_at is not null or number.leased_until is null or number.leased_until < now()
returning id
