-- Inserts turns ($1 new ids) of sessions ($2) with messages that wait.
select enqueue_turn(following.id, following.session_id) from unnest($1::uuid[], $2::uuid[]) as following (id, session_id)
