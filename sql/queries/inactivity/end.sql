-- Ends the sessions $1, whose ends were due at $2, some of them with closing messages ($3).
select end_inactive_sessions($1, $2, $3)
