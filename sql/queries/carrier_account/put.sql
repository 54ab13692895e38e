-- Writes the carrier account of a project ($1), over the one it had.
insert into carrier_account (project_id, carrier, account_sid, key_id, auth_token, next_auth_token, api_key_sid, api_key_secret)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (project_id) do update
   set carrier = excluded.carrier, account_sid = excluded.account_sid, key_id = excluded.key_id, auth_token = excluded.auth_token,
       next_auth_token = excluded.next_auth_token, api_key_sid = excluded.api_key_sid,
       api_key_secret = excluded.api_key_secret, updated_at = now()
