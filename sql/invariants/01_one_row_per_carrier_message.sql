-- A message of the carrier has one row in a project, and a message of a client has one row in a
-- session. A message that comes twice does not add a second row.
create or replace view invariant_01_one_row_per_carrier_message as
select project_id as owner_id, carrier_id as message_id, count(*) as messages
  from message
 where carrier_id is not null
 group by project_id, carrier_id
having count(*) > 1
union all
select session_id, client_id, count(*)
  from message
 where client_id is not null
 group by session_id, client_id
having count(*) > 1
