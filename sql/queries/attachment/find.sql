-- One attachment of a project ($1), by its id ($2), with the direction of its message.
select attachment.id, attachment.url, attachment.content_type, attachment.bytes, message.direction
  from attachment join message on message.id = attachment.message_id
 where attachment.project_id = $1 and attachment.id = $2
