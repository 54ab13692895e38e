-- The projects that have a carrier account, by their names.
select account.project_id, project.name as project
  from carrier_account account
  join project on project.id = account.project_id
 order by project.name, project.id
