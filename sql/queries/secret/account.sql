-- Writes the secrets ($4, encrypted with the key $3) of the carrier account of a project ($1), if
-- they still are as they were read ($2).
update carrier_account set key_id = $3, auth_token = ($4::bytea[])[1], next_auth_token = ($4::bytea[])[2], api_key_secret = ($4::bytea[])[3]
 where project_id = $1 and array[auth_token, next_auth_token, api_key_secret] is not distinct from $2::bytea[]
