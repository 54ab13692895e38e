-- Forgets the pools that the carrier refused for the deliveries $1: see the function leave_pool.
select leave_pool($1)
