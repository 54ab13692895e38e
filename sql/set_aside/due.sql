-- Work of a kind ($1) that is due, the oldest first, $2 at most, of no owner in $3.
select due_of($1, $2, $3)
