-- Ends the sessions $1, some of them with closing messages ($2).
select end_inactive_sessions($1, $2)
