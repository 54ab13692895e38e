-- Gives back deliveries that were claimed and not begun ($1 ids, $2 their tokens).
select give_back_deliveries($1, $2)
