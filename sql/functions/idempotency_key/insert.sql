-- Inserts the idempotency key of a request, and deletes some that are older than a week. Waits
-- until a request with the same key has committed. Returns false if that request keeps the key.
create or replace function insert_idempotency_key(of_project uuid, by_key text, hash bytea, new_message uuid)
returns boolean language plpgsql
set search_path = textback, pg_temp as $$
begin
    delete from idempotency_key
     where ctid = any (array(select ctid from idempotency_key where created_at < now() - interval '7 days'
                              order by created_at limit 10 for update skip locked));
    insert into idempotency_key (project_id, key, request_hash, message_id) values (of_project, by_key, hash, new_message)
    on conflict on constraint idempotency_key_pk do nothing;
    return found;
end $$;
