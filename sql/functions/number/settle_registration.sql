-- Records the registration of a number as the carrier reports it (null: nothing new), and sets its send policy by the
-- policy of its country. It locks the number's row. Held deliveries are planned again in order when the number may
-- send, and fail when the registration is rejected. They wait on while it is only not found: it may be moving between
-- messaging services.
create or replace function settle_registration(of_number uuid, to_registration text, detail text) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    locked  record;
    after text;
begin
    -- Not "for update": that would wait for inserts of scheduled messages, which share the number's key and may hold the rows that
    -- we need next.
    select project_id, country, send_policy, registration, registration_detail into locked from number where id = of_number for no key update;
    if to_registration is null then
        -- The registration is the same, but the policy may have changed.
        to_registration := locked.registration;
        detail := coalesce(detail, locked.registration_detail);
    end if;
    after := case when registration_policy_of(locked.project_id, locked.country) <> 'required' then 'open'
                  when to_registration = 'pending' then 'held'
                  when to_registration in ('unregistered', 'rejected') then 'blocked'
                  else 'open' end;
    update number set registration = to_registration, registration_detail = detail, send_policy = after where id = of_number;
    if after = 'open' then
        update delivery set due_at = now(), error_detail = null, updated_at = now()
         where number_id = of_number and status = 'planned' and due_at = 'infinity';
    elsif after = 'blocked' and to_registration = 'rejected' then
        perform fail_held_deliveries(of_number, 'number_not_registered', 'the carrier blocks texts from this number');
    end if;
end $$;
