-- Lets a role ($1) see a project ($2) in the views, or all of them (null), instead of what it saw
-- before.
insert into reporting_access (role_name, project_id) values ($1, $2)
on conflict on constraint reporting_access_pk do update set project_id = excluded.project_id, granted_at = excluded.granted_at
