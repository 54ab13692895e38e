-- Stores the attachments of inbound messages ($3, of the projects $2): their ids $1, positions $4,
-- addresses $5 and content types $6.
insert into attachment (id, project_id, message_id, position, url, content_type)
select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::integer[], $5::text[], $6::text[])
