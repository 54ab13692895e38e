-- A template of a project ($1), by its name ($2).
select name, body, created_at, updated_at from template where project_id = $1 and name = $2
