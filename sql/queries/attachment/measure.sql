-- Stores the content type ($2) and the size in bytes ($3) of an attachment ($1).
update attachment set content_type = $2, bytes = $3 where id = $1
