-- Detaches a number ($1, token $2) that was never ours, unless its generation is another than $3:
-- see the function forget_number.
select forget_number($1, $2, $3) as "is_forgotten!"
