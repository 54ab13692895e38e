-- Takes a batch of texts in; the rows come back in the batch's order.
select outcome, why, message_id, session_id from take_in($1, $2) order by ordinal
