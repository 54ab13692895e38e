comment on table reporting_access is 'Which role of the database sees which project in the views of the schema reporting; a role without a row sees nothing, unless it may read the tables.';
comment on column reporting_access.role_name is 'Name of the role.';
comment on column reporting_access.project_id is 'Id of the project that it sees; null: all projects.';
comment on column reporting_access.granted_at is 'Time at which that was granted.';
