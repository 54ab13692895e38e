-- Stores that the sessions $1 are warned with the messages $3. Their jobs come due at the times $2.
select warn_inactive_sessions($1, $2, $3)
