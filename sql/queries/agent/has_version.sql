-- Whether an agent ($1) has a version ($2).
select exists (select from agent_version where agent_id = $1 and version = $2) as "exists!"
