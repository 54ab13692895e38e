-- Deletes the scheduled messages $1, which are messages with deliveries now.
delete from scheduled_message where id = any ($1)
