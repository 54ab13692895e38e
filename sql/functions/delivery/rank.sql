-- The progress of a delivery as a number. A status report moves a delivery to a higher rank only.
-- docs/decisions/031-delivery-row.md has the reasons.
create or replace function delivery_rank(status text) returns integer language plpgsql immutable
set search_path = textback, pg_temp as $$
begin
    return case status when 'planned' then 0 when 'sending' then 1 when 'unknown' then 2
                       when 'accepted' then 3 when 'sent' then 4 else 5 end;
end $$;
