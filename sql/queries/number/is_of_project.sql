-- Whether a project ($1) has or had a number ($2). One that was detached keeps its sessions and its
-- consents.
select exists (select from number where project_id = $1 and number = $2) as "is_of_project!"
