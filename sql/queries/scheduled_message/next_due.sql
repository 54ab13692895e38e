-- In how many seconds the next scheduled message is due; null when none is.
select extract(epoch from min(due_at) - now())::double precision from scheduled_message where due_at is not null
