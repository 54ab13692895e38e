-- Contacts opt out because the carrier refused deliveries to them: $1 new ids, $2 projects, $3
-- endpoints, $4 contacts, $5 the deliveries, $6 the channels of their sessions. Tells how many
-- sessions end with each.
select opt_out(refused.id, refused.project_id, refused.endpoint_id, refused.contact, 'carrier', null, refused.delivery_id, refused.channel),
       (select count(*) from session
         where session.endpoint_id = refused.endpoint_id and session.contact = refused.contact and session.channel = refused.channel
           and status <> 'closed') as "closed!"
  from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::uuid[], $6::text[])
       as refused (id, project_id, endpoint_id, contact, delivery_id, channel)
