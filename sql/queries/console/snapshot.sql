-- Which transactions had ended: it differs from an earlier one if anything was written in between.
select pg_current_snapshot()::text as "snapshot!"
