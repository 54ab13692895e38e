-- Writes the signing secrets ($4, encrypted with the key $3) of an agent ($1), if they still are as
-- they were read ($2).
update agent set signing_key_id = $3, signing_secret = ($4::bytea[])[1], previous_signing_secret = ($4::bytea[])[2]
 where id = $1 and array[signing_secret, previous_signing_secret] is not distinct from $2::bytea[]
