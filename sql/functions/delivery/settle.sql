-- Settles a batch of deliveries by the carrier's answers. It takes the contacts' locks where a delivery is planned
-- again or tells of an opt-out.
-- Returns one row a delivery: settled, or stale when the token is no longer its own. A status report may have been
-- faster than the carrier's answer; then the report stays. next_waits: the contact has another delivery that may wait
-- for this one.
create or replace function settle_deliveries(deliveries delivery_outcome[])
returns table (ordinal integer, outcome text, next_waits boolean) language plpgsql
-- As in ingest.
set plan_cache_mode = force_generic_plan
set lock_timeout = '1s'
set search_path = textback, pg_temp as $$
declare
    settling  record;
    lock_of   record;
    done      integer[] := '{}';
    accepted  jsonb := delivery_step('accepted', 'carrier', null, null, null);
begin
    -- The contact's lock is needed where a delivery is planned again or tells of an opt-out (see opt_out). The locks come
    -- before the rows of deliveries, in the order of all callers.
    for lock_of in
        select distinct of_it.number_id, of_it.contact
          from unnest(deliveries) d
         cross join lateral (select number_id, contact from delivery where delivery.id = d.id limit 1) of_it
         where d.status = 'planned' or d.error_class = 'opted_out'
         order by of_it.number_id, of_it.contact
    loop
        perform lock_contact(lock_of.number_id, lock_of.contact);
    end loop;

    -- Most are accepted: they are written by one statement. Each is found by its key, whatever the statistics say, and written
    -- by its ctid. A row that was changed since the statement began has another ctid, and is left to the loop below.
    for ordinal, next_waits in
        update delivery
           set status = 'accepted', due_at = null, lease_token = null, leased_until = null, carrier_sid = d.carrier_sid,
               accepted_at = now(), updated_at = now(), error_code = null, error_class = null, error_detail = null,
               -- A delivery is accepted once, so its history needs no limit here; a call of append_step would cost more.
               history = history || accepted
          from unnest(deliveries) d
         cross join lateral (
               select ctid as row_ctid from delivery where delivery.id = d.id and delivery.lease_token = d.token
                limit 1 for update) locked
         where d.status = 'accepted' and delivery.ctid = locked.row_ctid
        returning d.ordinal,
                  (select later.seq from delivery later
                    where later.number_id = delivery.number_id and later.contact = delivery.contact
                      and later.due_at is not null and later.id <> delivery.id
                    limit 1) is not null
    loop
        outcome := 'settled';
        done := done || ordinal;
        return next;
    end loop;
    if cardinality(done) = cardinality(deliveries) then
        return;
    end if;

    for settling in
        select d.* from unnest(deliveries) d
         where d.ordinal <> all (done)
         order by d.id
    loop
        ordinal := settling.ordinal;
        next_waits := true;
        if settling.status in ('planned', 'unknown') then
            -- Work is left: to send it again, or to find out whether the carrier has it.
            update delivery
               set status = settling.status, due_at = now() + make_interval(secs => settling.retry_after_seconds),
                   lease_token = null, leased_until = null, updated_at = now(),
                   error_code = settling.error_code, error_class = settling.error_class, error_detail = settling.error_detail,
                   history = append_step(history, delivery_step(settling.status, 'carrier', settling.error_code, settling.error_class, settling.error_detail))
             where id = settling.id and lease_token = settling.token;
        else
            update delivery
               set status = settling.status, due_at = null, lease_token = null, leased_until = null, updated_at = now(),
                   carrier_sid = coalesce(settling.carrier_sid, carrier_sid),
                   accepted_at = case when settling.status = 'accepted' then now() end,
                   error_code = settling.error_code, error_class = settling.error_class, error_detail = settling.error_detail,
                   history = append_step(history, delivery_step(settling.status, 'carrier', settling.error_code, settling.error_class, settling.error_detail))
             where id = settling.id and lease_token = settling.token;
        end if;
        outcome := case when found then 'settled' else 'stale' end;
        if settling.status = 'planned' then
            perform withdraw_delivery_if_stale(settling.id);
        elsif settling.status = 'failed' and outcome = 'settled' then
            perform expedite_inactivity(settling.id);
            perform record_registration_error(settling.id, settling.error_code);
            if settling.error_class = 'opted_out' then
                perform record_carrier_opt_out(settling.consent_id, settling.id);
            end if;
        end if;
        return next;
    end loop;
end $$;
