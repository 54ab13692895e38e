-- Schedules the inactivity jobs of sessions ($1) so many seconds from now ($2), if they come later
-- than that.
select schedule_inactivity(spoken.id, spoken.seconds, false) from unnest($1::uuid[], $2::integer[]) as spoken (id, seconds)
