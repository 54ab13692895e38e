-- Counts the most that a request to a model may use, with the reservation $1: $4 tokens and the
-- cost $5, in the session $3 (limits $6 and $7) of the project $2.
select outcome as "outcome!: _", is_first as "is_first!" from reserve_model_use($1, $2, $3, $4, $5, $6, $7)
