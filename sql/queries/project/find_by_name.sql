-- The oldest project of a name ($1): names are for people and need not be unique.
select id, name, webhook_key from project where name = $1 order by id limit 1
