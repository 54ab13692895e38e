-- Records that a project ($2) wants a number ($3) attached: answered by an agent ($4) in an
-- environment ($5), in a country ($6), bought if need be ($7), its webhooks repaired when they
-- drift ($8). The new id is $1, the generation $9. See the function attach_number.
select attach_number($1, $2, $3, $4, $5, $6, $7, $8, $9)
