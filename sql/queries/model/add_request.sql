-- Counts a request to a model.
insert into model_request (project_id, session_id, agent_id, agent_version, turn_id, attempt, round, model, finish, prompt_tokens, cached_tokens,
                           output_tokens, reasoning_tokens, milliseconds, error)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
