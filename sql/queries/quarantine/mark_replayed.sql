-- Notes what became ($3) of what is in the quarantine of a project ($1), by its id ($2). The first
-- note stays.
update quarantine set replayed_at = now(), replay_outcome = $3 where project_id = $1 and id = $2 and replayed_at is null
