-- How much work waits and for how long. The tables hold live rows only, or an index does.
select (select count(*) from turn where due_at <= now()) as "turns!",
       coalesce((select extract(epoch from now() - min(due_at)) from turn where due_at <= now()), 0)::float8 as "oldest_turn_seconds!",
       (select count(*) from delivery where due_at <= now()) as "deliveries!",
       coalesce((select extract(epoch from now() - min(due_at)) from delivery where due_at <= now()), 0)::float8 as "oldest_delivery_seconds!",
       (select count(*) from inactivity where due_at <= now()) as "inactivity_jobs!",
       coalesce((select extract(epoch from now() - min(due_at)) from inactivity where due_at <= now()), 0)::float8 as "oldest_inactivity_job_seconds!",
       (select count(*) from scheduled_message where due_at <= now()) as "scheduled_messages!",
       coalesce((select extract(epoch from now() - min(due_at)) from scheduled_message where due_at <= now()), 0)::float8
           as "oldest_scheduled_message_seconds!"
