-- Sets the key ($4, encrypted with the key $3) of an agent ($1) of a project ($2).
insert into model_key (agent_id, project_id, key_id, encrypted)
select agent.id, agent.project_id, $3, $4 from agent where agent.id = $1 and agent.project_id = $2
on conflict on constraint model_key_pk do update set key_id = excluded.key_id, encrypted = excluded.encrypted, set_at = now()
