-- Moves the clock of one session ($2) of a project ($1) that is not closed by $3 seconds.
select skip_session($1, $2, $3) as "is_moved!"
