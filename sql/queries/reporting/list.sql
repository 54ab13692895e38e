-- The roles that see a project in the views, or all projects (null), and whether there still is a
-- role of that name.
select access.role_name, access.project_id, project.name as "project?", access.granted_at,
       exists (select from pg_roles where rolname = access.role_name) as "is_there!"
  from reporting_access access
  left join project on project.id = access.project_id
 order by access.role_name
