-- The key of an agent ($1) at its model's provider.
select project_id, key_id, encrypted from model_key where agent_id = $1
