-- Notes that an attached number ($2) of a project ($1) is to be detached or released ($3).
update number set wanted = $3, check_at = now() where project_id = $1 and id = $2 and detached_at is null
