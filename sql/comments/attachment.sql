comment on table attachment is 'A file of a message, such as a picture; its bytes stay at the carrier or on the web, and are fetched when they are asked for.';
comment on column attachment.id is 'Id of the attachment, a UUIDv7.';
comment on column attachment.project_id is 'Id of the project of the message.';
comment on column attachment.message_id is 'Id of the message.';
comment on column attachment.position is 'Place among the files of the message, from 0 to 9.';
comment on column attachment.url is 'Address of the file at the carrier or on the web.';
comment on column attachment.content_type is 'Media type that the carrier reports; null: an outbound file that nobody has fetched.';
comment on column attachment.bytes is 'Count of bytes of the file; null: nobody has fetched it.';
