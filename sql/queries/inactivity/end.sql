-- Ends the sessions $1, with closing messages of the ids $2 (null: none) and the bodies $3, of these encodings ($4) and
-- segments ($5), with deliveries or without ($6). Returns the limits that suppressed messages.
select session_id as "session_id!", refused as "refused: RefusalReason" from end_inactive_sessions($1, $2, $3, $4, $5, $6)
