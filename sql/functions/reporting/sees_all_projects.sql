-- Whether a role sees all projects in the views of the schema reporting. It runs with the rights of
-- its owner, because the role may not read the table that says it.
create or replace function sees_all_projects(reader name) returns boolean language sql stable security definer
set search_path = textback, pg_temp
return has_table_privilege(reader, 'textback.project'::regclass, 'select')
       or exists (select from reporting_access where reporting_access.role_name = reader and reporting_access.project_id is null);
