-- Refuses to change or delete consent: it is append-only.
create or replace function refuse_change_of_consent() returns trigger language plpgsql
set search_path = textback, pg_temp as $$
begin
    raise exception 'consent is append-only: record what is true now instead'
        using errcode = 'TB002', constraint = 'consent_is_append_only';
end $$;

create or replace trigger consent_is_append_only before update or delete on consent
    for each row execute function refuse_change_of_consent();
