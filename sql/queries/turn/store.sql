-- Stores what was decided about turns ($1) and their messages ($2).
select store_turns($1, $2)
