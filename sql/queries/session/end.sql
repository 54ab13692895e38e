-- Ends a session ($1) for a reason ($2); a closed one stays as it is.
select end_session($1, $2)
