-- Removes a template ($2) of a project ($1).
delete from template where project_id = $1 and name = $2
