-- Notes that an attached number ($2) of a project ($1) is to be detached or released ($3); the wish is $4. Who wishes looks at
-- once; workers come to it later.
update number set wanted = $3, wish = $4, check_at = now() + interval '2 minutes' where project_id = $1 and id = $2 and detached_at is null
