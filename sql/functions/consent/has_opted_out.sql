-- Whether a contact has opted out of an endpoint, by the snapshot of the calling statement.
create or replace function has_opted_out(of_endpoint uuid, to_contact text) returns boolean language plpgsql stable
set search_path = textback, pg_temp as $$
begin
    return coalesce((select kind = 'opted_out' from consent
                      where endpoint_id = of_endpoint and contact = to_contact order by seq desc limit 1), false);
end $$;
