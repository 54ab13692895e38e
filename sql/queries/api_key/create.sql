-- Makes a key ($1) of a project ($2) from its hash ($3) and its first characters ($4).
insert into api_key (id, project_id, hash, prefix) values ($1, $2, $3, $4)
