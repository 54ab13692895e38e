-- Stores the messages $1 as it was decided. The turns that are claimed get the token $2 for $3 seconds.
select message_id as "message_id!", seq as "seq!" from store_inbound($1, $2, $3)
