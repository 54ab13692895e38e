-- Settles a batch of deliveries; the rows come back in the batch's order.
select outcome, next_waits from settle_deliveries($1) order by ordinal
