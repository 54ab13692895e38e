-- Plans the project's answer to HELP, as the message $1 of the session $3 from a number ($4, of the project $2) to a contact ($5).
select plan_message($1, $2, $3, $4, $5, 'help', project.help_message, null, null, null, false)
  from project
 where project.id = $2 and project.help_message is not null
