-- All times are by the clock of the database, so no time of an event is in the future.
create or replace view invariant_10_no_time_from_the_future as
select 'session' as what, id, greatest(opened_at, last_message_at, closed_at, started_at, warned_at) as at
  from session
 where greatest(opened_at, last_message_at, closed_at, started_at, warned_at) > now() + interval '1 second'
union all
select 'message', id, created_at from message where created_at > now() + interval '1 second'
union all
select 'delivery', id, greatest(created_at, updated_at, accepted_at, attempted_at) from delivery
 where greatest(created_at, updated_at, accepted_at, attempted_at) > now() + interval '1 second'
