-- Turns that are done. What is recorded of a turn stands in its first message, and in
-- turn_without_message if it has none.
create or replace view reporting.turns_v1 with (security_barrier) as
select done.project_id, done.turn_id, done.session_id, session.channel::text as channel,
       session.agent_id, agent.name as agent_name, version.spec ->> 'kind' as agent_kind, session.agent_version,
       done.outcome, done.error_code, done.attempts, done.failures, done.messages, done.created_at, done.finished_at,
       extract(epoch from done.finished_at - done.created_at)::double precision as total_seconds,
       done.milliseconds / 1000.0::double precision as agent_seconds
  from (select message.project_id, message.turn_id, message.session_id,
               case when message.kind = 'error' then 'failed' else 'answered' end as outcome, message.turn_error_code::text as error_code,
               message.turn_attempts as attempts, message.turn_failures as failures, message.turn_messages as messages,
               message.turn_created_at as created_at, message.created_at as finished_at, message.turn_milliseconds as milliseconds
          from message
         where message.turn_created_at is not null
        union all
        select silent.project_id, silent.id, silent.session_id, silent.outcome::text, silent.error_code::text, silent.attempts,
               silent.failures, 0, silent.created_at, silent.finished_at, silent.milliseconds
          from turn_without_message silent) done
  join session on session.id = done.session_id
  left join agent on agent.id = session.agent_id
  left join agent_version version on version.agent_id = session.agent_id and version.version = session.agent_version
 where done.project_id in (select project_id from reporting.projects_v1);

comment on view reporting.turns_v1 is 'One row for each turn that is done. Turns that wait or run are in jobs_v1. Filter on finished_at to read few rows.';
comment on column reporting.turns_v1.project_id is 'Id of the project of the turn.';
comment on column reporting.turns_v1.turn_id is 'Id of the turn. All attempts have the same id.';
comment on column reporting.turns_v1.session_id is 'Id of the session of the turn.';
comment on column reporting.turns_v1.channel is 'Channel of the session, by the word that the API has for it.';
comment on column reporting.turns_v1.agent_id is 'Id of the agent that ran.';
comment on column reporting.turns_v1.agent_name is 'Name of the agent.';
comment on column reporting.turns_v1.agent_kind is 'What the version is: script, http or llm.';
comment on column reporting.turns_v1.agent_version is 'Number of the version of the agent.';
comment on column reporting.turns_v1.outcome is 'answered (it said something), silent (the agent said nothing), failed (given up; the contact got the error message if the agent has one) or cancelled (the session ended first).';
comment on column reporting.turns_v1.error_code is 'Why it failed: unusable, failed, over_limit, over_budget, answer_refused or worker_lost. Null: it did not fail, or the agent is not to blame.';
comment on column reporting.turns_v1.attempts is 'Count of attempts, with the last one. Attempts that a worker gave back do not count.';
comment on column reporting.turns_v1.failures is 'Count of earlier attempts at which the agent itself failed.';
comment on column reporting.turns_v1.messages is 'Count of messages that the turn said.';
comment on column reporting.turns_v1.created_at is 'Time at which the first message of the turn was stored.';
comment on column reporting.turns_v1.finished_at is 'Time at which the turn was settled, and its messages were stored.';
comment on column reporting.turns_v1.total_seconds is 'Seconds from created_at to finished_at: waiting, debouncing, all attempts, and settling.';
comment on column reporting.turns_v1.agent_seconds is 'Seconds that the agent ran at the last attempt, by the clock of the worker. Null: it was cancelled.';
