-- Writes a template ($2) of a project ($1) with a text ($3), over the one of that name.
insert into template (project_id, name, body) values ($1, $2, $3)
on conflict on constraint template_pk do update set body = excluded.body, updated_at = now()
returning name, body, created_at, updated_at
