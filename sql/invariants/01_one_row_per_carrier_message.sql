-- One row per (project, carrier message id): a webhook that comes twice is one message.
create or replace view invariant_01_one_row_per_carrier_message as
select project_id, carrier_sid, count(*) as messages
  from message
 where direction = 'inbound'
 group by project_id, carrier_sid
having count(*) > 1
