-- Activates a version ($3) of an agent ($1) in an environment ($2).
select activate_version($1, $2, $3)
