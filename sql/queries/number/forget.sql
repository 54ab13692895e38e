-- Takes back that a number ($1, token $2) is wanted, unless there is another wish than $3 by now: see the function forget_number.
select forget_number($1, $2, $3) as "is_forgotten!"
