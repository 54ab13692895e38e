-- Sets a row ($2) of a kind of work ($1) aside that can't be claimed. $3 is the caller's own claim
-- of it, $4 the reason.
select set_aside($1, $2, $3, $4) as "is_set_aside!"
