-- The rows of turn_rollup from one hour to another, as the turns are now that were done in these
-- hours.
create or replace function turns_of_hours(since timestamptz, until timestamptz) returns setof turn_rollup language sql stable
begin atomic
    select done.project_id, done.hour, session.endpoint_id, session.agent_id, session.channel::text, session.agent_version, done.outcome,
           coalesce(done.error_code, ''), count(*), sum(done.attempts)::bigint, sum(done.failures)::bigint, sum(done.messages)::bigint
      from (select message.project_id, hour_of(message.created_at) as hour, message.session_id,
                   case when message.kind = 'error' then 'failed' else 'answered' end as outcome,
                   message.turn_error_code::text as error_code, message.turn_attempts as attempts, message.turn_failures as failures,
                   message.turn_messages as messages
              from message
             where message.created_at >= since and message.created_at < until and message.turn_created_at is not null
            union all
            select silent.project_id, hour_of(silent.finished_at), silent.session_id, silent.outcome::text, silent.error_code::text,
                   silent.attempts, silent.failures, 0
              from turn_without_message silent
             where silent.finished_at >= since and silent.finished_at < until) done
      join session on session.id = done.session_id
     group by 1, 2, 3, 4, 5, 6, 7, 8;
end;
