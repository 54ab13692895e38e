-- Locks an agent ($2) of a project ($1), so that its versions are activated one at a time.
select id from agent where project_id = $1 and id = $2 for no key update
