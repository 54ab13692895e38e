-- One record of a project ($1), by its id ($2).
select consent.id, number.number as "number?", consent.contact, consent.kind as "kind: _", consent.source as "source: _", consent.said, consent.message_id,
       consent.recorded_at
  from consent
  left join number on number.id = consent.endpoint_id
 where consent.project_id = $1 and consent.id = $2
