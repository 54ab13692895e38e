-- Stores what was decided about deliveries, which the caller has locked (load_deliveries). due_in_seconds: null where no
-- work is left.
create or replace function store_deliveries(
    ids uuid[], statuses text[], due_in_seconds double precision[], carrier_sids text[],
    error_codes integer[], error_classes text[], error_details text[]
) returns void language plpgsql
-- One plan a connection. Plans for given values would be made five times before, 10 ms each, and are no better.
set plan_cache_mode = force_generic_plan
set search_path = textback, pg_temp as $$
declare
    -- A variable, because a distributed table refuses now() inside case and coalesce.
    this_time timestamptz := now();
    accepted  jsonb := delivery_step('accepted', 'carrier', null, null, null);
begin
    update delivery
       set status = settled.status, due_at = this_time + make_interval(secs => settled.due_in_seconds),
           lease_token = null, leased_until = null, updated_at = this_time,
           carrier_sid = coalesce(settled.carrier_sid, delivery.carrier_sid),
           accepted_at = case when settled.status = 'accepted' then this_time end,
           error_code = settled.error_code, error_class = settled.error_class, error_detail = settled.error_detail,
           -- A delivery is accepted once, so its history needs no limit then, and the calls would cost more.
           history = case when settled.status = 'accepted' then history || accepted
                          else append_step(history, delivery_step(settled.status, 'carrier', settled.error_code,
                                                                  settled.error_class, settled.error_detail)) end
      from unnest(ids, statuses, due_in_seconds, carrier_sids, error_codes, error_classes, error_details)
           as settled (id, status, due_in_seconds, carrier_sid, error_code, error_class, error_detail)
     -- By the ctid, because a join that was planned while there were few deliveries would read all of them.
     cross join lateral (select ctid as row_ctid from delivery where delivery.id = settled.id limit 1) locked
     where delivery.ctid = locked.row_ctid;
end $$;
