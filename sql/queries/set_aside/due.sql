-- The due rows of a kind of work ($1), the oldest first, at most $2, without the owners in $3.
select due_rows($1, $2, $3)
