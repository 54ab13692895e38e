-- Opens the session after a closed one ($1), with the id $3, for the inbound messages after seq $2,
-- which get the turn $4.
select open_next_session($1, $2, $3, $4)
