-- An endpoint, a contact and a channel have at most one session that is not closed.
create or replace view invariant_02_one_session_not_closed as
select endpoint_id, contact, channel, count(*) as sessions
  from session
 where status <> 'closed'
 group by endpoint_id, contact, channel
having count(*) > 1
