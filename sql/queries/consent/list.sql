-- What was said about texts in a project ($1), newest first: to a number ($2), by a contact ($3),
-- before a record ($4), at most $5. A filter that is null lets all pass.
select consent.id, number.number as "number?", consent.contact, consent.kind as "kind: _", consent.source as "source: _", consent.said, consent.message_id,
       consent.recorded_at
  from consent
  left join number on number.id = consent.endpoint_id
 where consent.project_id = $1
   and ($2::text is null or number.number = $2)
   and ($3::text is null or consent.contact = $3)
   and ($4::uuid is null or consent.id < $4)
 order by consent.id desc
 limit $5
