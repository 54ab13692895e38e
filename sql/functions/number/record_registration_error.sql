-- Records that the carrier blocked a delivery because the number lacks its registration: the class of the delivery's
-- error is unregistered. For a number whose registration is pending or rejected this is known already. The number is
-- checked at once, because the report may be older than its approval.
create or replace function record_registration_error(of_delivery uuid, code integer) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    if exists (select from delivery where id = of_delivery and error_class = 'unregistered') then
        perform settle_registration(number.id, 'unregistered', 'the carrier blocked a text for it' || coalesce(' (error ' || code || ')', ''))
           from delivery join number on number.id = delivery.number_id
          where delivery.id = of_delivery and number.registration not in ('pending', 'rejected');
        -- The report may be older than the approval, so the carrier is asked at once.
        update number set check_at = now() from delivery where delivery.id = of_delivery and number.id = delivery.number_id and number.check_at is not null;
    end if;
end $$;
