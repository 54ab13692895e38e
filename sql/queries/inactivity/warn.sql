-- Warns the contacts of the sessions $1 with messages of the ids $2 and the bodies $3, of these encodings ($4) and segments ($5).
-- Returns the limits that suppressed warnings.
select session_id as "session_id!", refused as "refused: RefusalReason" from warn_inactive_sessions($1, $2, $3, $4, $5)
