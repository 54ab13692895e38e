-- Makes a project ($1) with a name ($2) and its opaque webhook key ($3).
insert into project (id, name, webhook_key) values ($1, $2, $3) returning id, name, webhook_key
