-- Counts an interruption of a turn ($1 its session, $2 the token): its agent's process ended.
-- Returns how often that has happened.
update turn set interruptions = interruptions + 1
 where session_id = $1 and lease_token = $2
returning interruptions
