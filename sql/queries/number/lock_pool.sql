-- Locks a pool ($2) of a project ($1) and a contact ($3) until the transaction ends: see the
-- function lock_pool.
select lock_pool($1, $2, $3)
