-- Settles an unknown delivery as accepted (with the carrier's id), planned (it is sent again) or
-- failed. The caller has locked it and its contact, and withdraws a planned one whose message is no
-- longer true.
create or replace function settle_unknown_delivery(
    of_delivery uuid, to_status text, found_carrier_id text, class text, detail text
) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    this_time timestamptz := now();
begin
    update delivery
       set status = to_status, carrier_id = coalesce(found_carrier_id, carrier_id), lease_token = null, leased_until = null,
           due_at = case when to_status = 'planned' then this_time end,
           accepted_at = case when to_status = 'accepted' then this_time end,
           error_class = case when to_status = 'planned' then error_class else class end, error_detail = detail, updated_at = this_time,
           history = append_step(history, delivery_step(to_status, 'list', null, class, detail))
     where id = of_delivery;
    if to_status = 'failed' then
        perform expedite_inactivity(of_delivery);
    end if;
end $$;
