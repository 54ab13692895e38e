-- The keys of models that another key than $1 encrypted.
select agent_id as id, project_id, key_id, array[encrypted] as "secrets!: _" from model_key where key_id <> $1
