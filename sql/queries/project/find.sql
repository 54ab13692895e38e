-- A project by its id ($1).
select id, name, webhook_key from project where id = $1
