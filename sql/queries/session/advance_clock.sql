-- Advances the clock of a session ($2) of a project ($1) that is not closed by $3 seconds.
select advance_session_clock($1, $2, $3)
