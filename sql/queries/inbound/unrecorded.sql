-- Those of the carrier's message ids $2 that no inbound message of the project ($1) has, nor its quarantine.
select listed.carrier_sid as "carrier_sid!" from unnest($2::text[]) as listed (carrier_sid)
 where not exists (
           select from message
            where message.project_id = $1 and message.carrier_sid = listed.carrier_sid and message.direction = 'inbound')
   and not exists (
           select from quarantine
            where quarantine.project_id = $1 and quarantine.carrier_sid = listed.carrier_sid and quarantine.kind = 'inbound')
