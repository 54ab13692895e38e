-- Stores the messages $1 as it was decided, and returns their seqs. The turns that are claimed get
-- the token $2 for $3 seconds.
select store_inbound($1, $2, $3) as "seqs!"
