-- The templates of a project ($1) by their names, after one ($2), at most $3.
select name, body, created_at, updated_at from template
 where project_id = $1 and ($2::text is null or name > $2)
 order by name
 limit $3
