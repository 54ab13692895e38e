-- The projects that a role may see. All other views select by this one, so the guard stands here
-- once. A role sees the project that reporting_access gives it. The setting only narrows that: a
-- user can change it, and sees no more by that. The conditions that are the same for all rows are
-- subqueries, because the planner would otherwise expect too few rows and choose a nested loop.
create or replace view reporting.projects_v1 with (security_barrier) as
select project.id as project_id, project.name, project.created_at
  from project
 where ((select sees_all_projects(current_user))
        or project.id = (select reporting_access.project_id from reporting_access where reporting_access.role_name = current_user))
   and ((select coalesce(current_setting('textback.reporting_project', true), '') = '')
        or project.id::text = lower(current_setting('textback.reporting_project', true)));

comment on view reporting.projects_v1 is 'One row for each project that the current role may see. A role sees the project that "textback reporting grant" gave it. The setting textback.reporting_project, if it is set, leaves one of these.';
comment on column reporting.projects_v1.project_id is 'Id of the project. Joins with project_id of the other views.';
comment on column reporting.projects_v1.name is 'Name of the project. Names are not unique.';
comment on column reporting.projects_v1.created_at is 'Time at which the project was created.';
