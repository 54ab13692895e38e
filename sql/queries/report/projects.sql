-- The projects that the role of the connection sees, the oldest first.
select project_id, name from reporting.projects_v1 order by created_at, project_id;
