-- Cancels a scheduled message ($2) of a project ($1) that still waits.
update scheduled_message set due_at = null, refusal_reason = 'cancelled'
 where project_id = $1 and id = $2 and due_at is not null
