-- The requests to models of a session ($2) of a project ($1), oldest first, after one ($3), at most
-- $4.
select id, turn_id, attempt, round, agent_id, agent_version, model, finish as "finish: _", prompt_tokens, cached_tokens, output_tokens,
       reasoning_tokens, cost, milliseconds, error, created_at
  from model_request
 where project_id = $1 and session_id = $2 and ($3::bigint is null or id > $3)
 order by id
 limit $4
