-- Projects of a name ($1), the oldest first; two suffice to know that the name stands for no single
-- one.
select id, name, webhook_key from project where name = $1 order by id limit 2
