-- Ends a session ($1) for a reason ($2); a closed one stays as it is. Tells how many sessions end:
-- one, or none.
select end_session($1, $2), (select count(*) from session where id = $1 and status <> 'closed') as "closed!"
