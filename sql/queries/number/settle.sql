-- Writes what was observed and done about a number ($1, token $2): see the function settle_number.
select settle_number($1, $2, $3)
