-- The attached numbers of a project ($1) in a country ($2).
select id from number where project_id = $1 and country = $2 and check_at is not null order by id
