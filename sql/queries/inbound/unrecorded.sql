-- Those of the carrier's message ids $2 that no inbound message of the project ($1) has, nor its
-- quarantine.
select listed.carrier_id as "carrier_id!" from unnest($2::text[]) as listed (carrier_id)
 where not exists (
           select from message
            where message.project_id = $1 and message.carrier_id = listed.carrier_id and message.direction = 'inbound')
   and not exists (
           select from quarantine
            where quarantine.project_id = $1 and quarantine.carrier_id = listed.carrier_id and quarantine.kind = 'inbound')
