-- Counts whole hours again, from the first to before the second time.
select recount_hours($1, $2)
