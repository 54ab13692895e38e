-- Gives a scheduled message ($1) to a contact ($3) the number $2: see the function
-- assign_scheduled_message.
select assign_scheduled_message($1, $2, $3) as "is_assigned!"
