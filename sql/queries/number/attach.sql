-- Records that a project ($2) wants a number ($3) attached: answered by an agent ($4), in a country
-- ($5), bought if need be ($6), its webhooks repaired when they drift ($7). The new id is $1, the
-- generation $8. See the function attach_number.
select attach_number($1, $2, $3, $4, $5, $6, $7, $8)
