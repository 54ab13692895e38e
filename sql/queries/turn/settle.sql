-- Settles a batch of turns; the rows come back in the batch's order.
select outcome, planned, more_work, leaving, refused from settle_turns($1) order by ordinal
