-- Counts a request to a model, and what it used ($17 tokens, $18 cost) instead of its reservation
-- ($16). A reservation that is gone was counted in full.
with done as (
     delete from model_reservation where id = $16 returning project_id, session_id, day, tokens, cost),
     of_session as (
     update model_use_of_session known set tokens = known.tokens - done.tokens + $17, cost = known.cost - done.cost + $18
       from done where known.session_id = done.session_id),
     of_day as (
     update model_use_of_day known set tokens = known.tokens - done.tokens + $17, cost = known.cost - done.cost + $18
       from done where known.project_id = done.project_id and known.day = done.day)
insert into model_request (project_id, session_id, agent_id, agent_version, turn_id, attempt, round, model, finish, prompt_tokens, cached_tokens,
                           output_tokens, reasoning_tokens, milliseconds, error, cost)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $19)
