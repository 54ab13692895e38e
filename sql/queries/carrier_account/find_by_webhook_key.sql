-- The carrier account of the project that a webhook key ($1) stands for.
select account.project_id, project.webhook_key, account.carrier as "carrier: _", account.account_sid, account.key_id, account.auth_token,
       account.next_auth_token, account.api_key_sid, account.api_key_secret
  from carrier_account account
  join project on project.id = account.project_id
 where project.webhook_key = $1
