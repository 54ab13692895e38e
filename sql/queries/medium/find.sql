-- One medium of a project ($1), by its id ($2), with the direction of its message.
select medium.id, medium.url, medium.content_type, medium.bytes, message.direction as "direction: _"
  from medium join message on message.id = medium.message_id
 where medium.project_id = $1 and medium.id = $2
