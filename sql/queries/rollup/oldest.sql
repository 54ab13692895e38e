-- The hour of the oldest row that is counted. It reads these tables whole, once in a database.
select hour_of(least((select min(created_at) from message), (select min(opened_at) from session), (select min(created_at) from delivery),
                     (select min(finished_at) from turn_without_message)))
