-- Requests to language models.
create or replace view reporting.model_requests_v1 with (security_barrier) as
select request.project_id, request.id as request_id, request.session_id, session.channel::text as channel, request.turn_id, request.attempt,
       request.round, request.agent_id, agent.name as agent_name, request.agent_version, request.model, request.finish::text as finish,
       request.prompt_tokens, request.cached_tokens, request.output_tokens, request.reasoning_tokens, request.cost,
       request.milliseconds / 1000.0::double precision as seconds, request.error,
       (select count(*) from tool_call where tool_call.turn_id = request.turn_id and tool_call.round = request.round)::integer as tool_calls,
       request.created_at
  from model_request request
  join session on session.id = request.session_id
  left join agent on agent.id = request.agent_id
 where request.project_id in (select project_id from reporting.projects_v1);

comment on view reporting.model_requests_v1 is 'One row for each request to a language model, also one that failed. Filter on created_at to read few rows.';
comment on column reporting.model_requests_v1.project_id is 'Id of the project of the session.';
comment on column reporting.model_requests_v1.request_id is 'Id of the request, in the order of storing.';
comment on column reporting.model_requests_v1.session_id is 'Id of the session of the turn.';
comment on column reporting.model_requests_v1.channel is 'Channel of the session, by the word that the API has for it.';
comment on column reporting.model_requests_v1.turn_id is 'Id of the turn that made the request.';
comment on column reporting.model_requests_v1.attempt is 'Number of the attempt at the turn, from 1.';
comment on column reporting.model_requests_v1.round is 'Number of the round in its turn, from 0.';
comment on column reporting.model_requests_v1.agent_id is 'Id of the agent that the model answers for.';
comment on column reporting.model_requests_v1.agent_name is 'Name of the agent.';
comment on column reporting.model_requests_v1.agent_version is 'Number of the version of the agent.';
comment on column reporting.model_requests_v1.model is 'Name of the model at its provider.';
comment on column reporting.model_requests_v1.finish is 'Why the model stopped: done, length (the limit of tokens) or filtered; failed: it gave no answer.';
comment on column reporting.model_requests_v1.prompt_tokens is 'Count of tokens of the request. Null: the server did not tell.';
comment on column reporting.model_requests_v1.cached_tokens is 'Count of tokens of the request that the provider had cached. Null: the server did not tell.';
comment on column reporting.model_requests_v1.output_tokens is 'Count of tokens of the answer, thoughts among them. Null: the server did not tell.';
comment on column reporting.model_requests_v1.reasoning_tokens is 'Count of tokens of the thoughts. Null: the server did not tell.';
comment on column reporting.model_requests_v1.cost is 'Cost in millionths of the currency of the project''s prices, estimated where the server did not tell the tokens. Null: the model had no price.';
comment on column reporting.model_requests_v1.seconds is 'Seconds that the request took.';
comment on column reporting.model_requests_v1.error is 'Why the request failed, without what the server or the contact wrote. Null: it did not fail.';
comment on column reporting.model_requests_v1.tool_calls is 'Count of tool calls of the round that have run. Requests of one round have the same.';
comment on column reporting.model_requests_v1.created_at is 'Time at which the request ended.';
