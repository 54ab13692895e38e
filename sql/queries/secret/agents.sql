-- The agents whose signing secrets another key than $1 encrypted.
select id, project_id, signing_key_id as "key_id!", array[signing_secret, previous_signing_secret] as "secrets!: _" from agent where signing_key_id <> $1
