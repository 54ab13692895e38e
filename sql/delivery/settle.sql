-- Settles a batch of deliveries; the rows come back in the batch's order.
select outcome from settle_deliveries($1) order by ordinal
