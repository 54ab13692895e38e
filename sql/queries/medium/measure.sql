-- Notes what a medium ($1) turned out to be ($2) and how many bytes it has ($3).
update medium set content_type = $2, bytes = $3 where id = $1
