-- Counts that what ran a turn's agent ended ($1 its session, $2 the token), and tells how often it did.
update turn set interruptions = interruptions + 1
 where session_id = $1 and lease_token = $2
returning interruptions
