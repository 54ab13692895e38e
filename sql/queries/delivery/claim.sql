-- Claims at most $1 due deliveries, for $6 seconds under the token $7. Projects: none of $2, of
-- those in $3 at most as many as $4 says, $5 of each other project. If $8 is not null, only these
-- deliveries. They become 'sending' before the carrier is called, so that after a crash no worker
-- takes them for unsent.
--
-- A contact's texts leave in order: one is claimed only when no earlier one is live. One to a
-- contact who has opted out is suppressed here instead, by the same snapshot (see the function
-- opt_out). A delivery whose worker died in the middle of the call becomes 'unknown', for the
-- carrier may have it.
--
-- Rows are found by arrays and by "limit 1", not by joins: a join that was planned while the tables
-- were empty reads a whole index for each claim.
with expired as (
    select id from delivery
     where due_at is not null and status = 'sending' and leased_until < now() and ($8::uuid[] is null or id = any ($8))
       for update skip locked
), lost as (
    update delivery
       set status = 'unknown', due_at = now(), lease_token = null, leased_until = null, updated_at = now(),
           error_class = 'ambiguous', error_detail = 'the worker that was sending it did not come back',
           history = append_step(history, delivery_step('unknown', null, null, 'ambiguous', 'the worker that was sending it did not come back'))
     where id = any (array(select expired.id from expired))
), waiting as (
    select d.id, d.project_id, d.due_at, not d.despite_opt_out and has_opted_out(d.number_id, d.contact) as is_out
      from delivery d
     where d.due_at <= now() and d.status = 'planned'
       and d.project_id <> all ($2) and ($8::uuid[] is null or d.id = any ($8))
       and (select earlier.seq from delivery earlier
             where earlier.number_id = d.number_id and earlier.contact = d.contact
               and earlier.due_at is not null and earlier.seq < d.seq
             limit 1) is null
     order by d.due_at
     limit $1
       for update of d skip locked
), opted_out as (
    update delivery
       set status = 'suppressed', due_at = null, updated_at = now(),
           error_class = 'opted_out', error_detail = 'the contact has opted out',
           history = append_step(history, delivery_step('suppressed', null, null, 'opted_out', 'the contact has opted out'))
     where id = any (array(select waiting.id from waiting where waiting.is_out))
), listed as (
    select array_agg(id order by due_at) as ids, array_agg(project_id order by due_at) as projects
      from waiting
     where not is_out
), due as (
    select listed.ids[ordinal] as id from listed, within_quotas(listed.projects, $3, $4, $5) as ordinal
), claimed as (
    update delivery
       set status = 'sending', lease_token = $7, leased_until = now() + make_interval(secs => $6),
           attempts = delivery.attempts + 1, attempted_at = now(), updated_at = now(),
           history = append_step(history, (select delivery_step('sending', null, null, null, null)))
     where id = any (array(select due.id from due))
    returning delivery.*
)
select claimed.id,
       claimed.project_id,
       claimed.session_id,
       (select number from number where number.id = claimed.number_id limit 1) as "from!",
       claimed.contact as "to",
       message.body as "body!",
       coalesce((select array_agg(url order by position) from attachment where attachment.message_id = claimed.id), '{}') as "media_urls!",
       claimed.attempts as attempt,
       (select session.pool_id from session where session.id = claimed.session_id limit 1) as pool_id,
       message.turn_id,
       message.kind = 'text' and message.turn_id is null as "is_of_the_api!",
       -- The newest message before it that was answered, if it is an answer.
       (select (select extract(epoch from now() - answered.created_at)::float8 from message answered
                 where answered.session_id = claimed.session_id and answered.seq < claimed.seq and answered.seq <= session.handled_seq
                   and answered.direction = 'inbound' and answered.skip_reason is null
                 order by answered.seq desc limit 1)
          from session
         where session.id = claimed.session_id
           and message.kind in ('greeting', 'reply', 'error')
         limit 1) as "text_since: _"
  from claimed
  left join lateral (select body, turn_id, kind from message where message.id = claimed.id limit 1) message on true
 order by claimed.seq
