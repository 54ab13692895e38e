-- Turns that are done.
create or replace view reporting.turns_v1 with (security_barrier) as
select finished.project_id, finished.id as turn_id, finished.session_id, session.channel::text as channel,
       finished.agent_id, agent.name as agent_name, version.spec ->> 'kind' as agent_kind, finished.agent_version,
       finished.outcome::text as outcome, finished.error_code, finished.attempts,
       finished.failures, finished.messages,
       finished.created_at, finished.finished_at,
       extract(epoch from finished.finished_at - finished.created_at)::double precision as total_seconds,
       finished.agent_milliseconds / 1000.0::double precision as agent_seconds
  from finished_turn finished
  left join session on session.id = finished.session_id
  left join agent on agent.id = finished.agent_id
  left join agent_version version on version.agent_id = finished.agent_id and version.version = finished.agent_version
 where finished.project_id in (select project_id from reporting.projects_v1);

comment on view reporting.turns_v1 is 'One row for each turn that is done. Turns that wait or run are in jobs_v1. Filter on finished_at to read few rows.';
comment on column reporting.turns_v1.project_id is 'Id of the project of the turn.';
comment on column reporting.turns_v1.turn_id is 'Id of the turn. All attempts have the same id.';
comment on column reporting.turns_v1.session_id is 'Id of the session of the turn.';
comment on column reporting.turns_v1.channel is 'How the session talks: sms, webchat or voice.';
comment on column reporting.turns_v1.agent_id is 'Id of the agent that ran.';
comment on column reporting.turns_v1.agent_name is 'Name of the agent.';
comment on column reporting.turns_v1.agent_kind is 'What the version is: script or http.';
comment on column reporting.turns_v1.agent_version is 'Number of the version of the agent.';
comment on column reporting.turns_v1.outcome is 'answered (it said something), silent (the agent said nothing), failed (given up; the contact may have got the error message) or cancelled (the session ended first).';
comment on column reporting.turns_v1.error_code is 'Why it failed: unusable, failed, over_limit, answer_refused or worker_lost. Null: it did not fail, or the agent is not to blame.';
comment on column reporting.turns_v1.attempts is 'Count of attempts, with the last one. Attempts that a worker gave back do not count.';
comment on column reporting.turns_v1.failures is 'Count of earlier attempts at which the agent itself failed.';
comment on column reporting.turns_v1.messages is 'Count of messages that the turn said.';
comment on column reporting.turns_v1.created_at is 'Time at which the first message of the turn was stored.';
comment on column reporting.turns_v1.finished_at is 'Time at which the turn was settled, and its messages were stored.';
comment on column reporting.turns_v1.total_seconds is 'Seconds from created_at to finished_at: waiting, debouncing, all attempts, and settling.';
comment on column reporting.turns_v1.agent_seconds is 'Seconds that the agent ran at the last attempt, by the clock of the worker. Null: it was cancelled.';
