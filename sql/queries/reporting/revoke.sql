-- Lets a role ($1) see no project in the views.
delete from reporting_access where role_name = $1
