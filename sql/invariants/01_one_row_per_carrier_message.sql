-- A message of the carrier has one row in a project. A webhook that the carrier sends twice does not add a second one.
create or replace view invariant_01_one_row_per_carrier_message as
select project_id, carrier_sid, count(*) as messages
  from message
 where direction = 'inbound'
 group by project_id, carrier_sid
having count(*) > 1
