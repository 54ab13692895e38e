-- The latest warnings and ends
-- The 50 inactive sessions whose warning or end came latest after it was due. Quiet hours count as lateness.
-- chart: table
-- warned_at (time): When the contact was warned.
-- address (text): The number of the project.
-- contact_masked (text): The contact without its middle digits.
-- outcome (text): rescued, ended, ended_otherwise or waiting.
-- warning_late_seconds (seconds): Time from when the warning was due to when it was stored.
-- end_late_seconds (seconds): Time from when the end was due to when it came. Empty: the session did not time out.
-- session_id (text): The session.

select warned_at, address, contact_masked, outcome, warning_late_seconds, end_late_seconds, session_id::text as session_id
  from reporting.inactivity_v1
 where warned_at >= $1::timestamptz and warned_at < $2::timestamptz
 order by greatest(warning_late_seconds, end_late_seconds) desc nulls last, warned_at desc
 limit 50;
