-- Whom a key speaks for, by its hash ($1).
select project_id, scopes from api_key where hash = $1 and revoked_at is null
