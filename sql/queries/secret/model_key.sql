-- Writes the key of a model ($4, encrypted with the key $3) of an agent ($1), if it still is as it
-- was read ($2).
update model_key set key_id = $3, encrypted = ($4::bytea[])[1]
 where agent_id = $1 and array[encrypted] is not distinct from $2::bytea[]
