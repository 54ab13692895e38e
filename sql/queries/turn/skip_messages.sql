-- Says why the inbound messages of a session ($1) after seq $2 up to seq $3 get no answer ($4).
update message set skip_reason = $4::text
 where session_id = $1 and direction = 'inbound' and skip_reason is null and seq > $2 and seq <= $3
