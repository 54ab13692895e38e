-- At most one session that is not closed per endpoint, contact and channel.
create or replace view invariant_02_one_session_not_closed as
select endpoint_id, contact, channel, count(*) as sessions
  from session
 where status <> 'closed'
 group by endpoint_id, contact, channel
having count(*) > 1
