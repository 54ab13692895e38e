-- The carrier accounts whose secrets another key than $1 encrypted.
select project_id as id, project_id, key_id, array[auth_token, next_auth_token, api_key_secret] as "secrets!: _" from carrier_account where key_id <> $1
