comment on table api_key is 'A key of a project for the API.';
comment on column api_key.id is 'Id of the key, a UUIDv7.';
comment on column api_key.project_id is 'Id of the project that the key opens.';
comment on column api_key.hash is 'SHA-256 of the key, 32 bytes; the key has 256 random bits, so no slow hash is needed.';
comment on column api_key.prefix is 'First characters of the key, by which a person recognises it in a list.';
comment on column api_key.scopes is 'What it allows: admin (everything) or read.';
comment on column api_key.created_at is 'Time at which it was made.';
comment on column api_key.revoked_at is 'Time from which on it is refused; null: it is valid.';
