-- In how many seconds the next session is to be looked at; null when none is.
select extract(epoch from min(due_at) - now())::double precision from inactivity
