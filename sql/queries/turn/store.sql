-- Stores what was decided about turns ($1), their messages ($2), and what is recorded of those
-- without messages ($3).
select store_turns($1, $2, $3)
