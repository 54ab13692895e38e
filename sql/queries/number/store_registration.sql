-- Stores the registration ($2, detail $3) and the send policy ($4) of the number $1. Its held
-- deliveries are planned again ($5), or fail with the class $6 and the detail $7.
select store_registration($1, $2, $3, $4, $5, $6, $7)
