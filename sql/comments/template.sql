comment on table template is 'A named message body with variables.';
comment on column template.project_id is 'Id of the project of the template.';
comment on column template.name is 'Name of the template, unique in its project.';
comment on column template.body is 'Its text, with its variables, 1 to 500 characters.';
comment on column template.created_at is 'Time at which it was made.';
comment on column template.updated_at is 'Time of its last change.';
