-- Stores what became of deliveries (domain/delivery_settlement.rs), of each that is still claimed
-- under its token. Returns these by their positions from 1, and whether another delivery to the
-- contact waits. due_in_seconds: null where no work is left. contacts_of: the deliveries whose
-- contacts are locked first, sorted by number and contact. sources: who told, null if textback did.
create or replace function settle_deliveries(
    ids uuid[], tokens uuid[], contacts_of uuid[], statuses text[], due_in_seconds double precision[], carrier_ids text[],
    error_codes integer[], error_classes text[], error_details text[], sources text[]
) returns table (ordinal bigint, other_waits boolean) language plpgsql
-- One plan a connection. Plans for given values would be made five times before, 10 ms each, and
-- are no better.
set plan_cache_mode = force_generic_plan
set search_path = textback, pg_temp as $$
declare
    -- A variable, because a distributed table refuses now() inside case and coalesce.
    this_time timestamptz := now();
    accepted  jsonb := delivery_step('accepted', 'carrier', null, null, null);
    lock_of   record;
    ctids     tid[];
begin
    -- Until the transaction ends. A batch waits at most 1 s for a lock; then the batcher writes its
    -- items one by one.
    perform set_config('lock_timeout', '1s', true);
    if contacts_of <> '{}' then
        for lock_of in
            select distinct delivery.number_id, delivery.contact from delivery
             where delivery.id = any (contacts_of)
             order by delivery.number_id, delivery.contact
        loop
            perform lock_contact(lock_of.number_id, lock_of.contact);
        end loop;
    end if;
    -- By a statement of its own, because a row that was changed after a statement began has another
    -- ctid than the statement sees. By "limit 1" each is looked up by its key, whatever the
    -- statistics say.
    ctids := array(
        select locked.ctid
          from unnest(ids, tokens) with ordinality as claimed (id, token, ordinal)
          left join lateral (
               select delivery.ctid from delivery
                where delivery.id = claimed.id and delivery.lease_token = claimed.token
                limit 1 for update) locked on true
         order by claimed.ordinal);
    return query
    update delivery
       set status = settled.status, due_at = this_time + make_interval(secs => settled.due_in_seconds),
           lease_token = null, leased_until = null, updated_at = this_time,
           carrier_id = coalesce(settled.carrier_id, delivery.carrier_id),
           accepted_at = case when settled.status = 'accepted' then this_time end,
           error_code = settled.error_code, error_class = settled.error_class, error_detail = settled.error_detail,
           -- A delivery is accepted once, so its history needs no limit then, and the calls would
           -- cost more.
           history = case when settled.status = 'accepted' then history || accepted
                          else append_step(history, delivery_step(settled.status, settled.source, settled.error_code,
                                                                  settled.error_class, settled.error_detail)) end
      from unnest(ctids, statuses, due_in_seconds, carrier_ids, error_codes, error_classes, error_details, sources) with ordinality
           as settled (row_ctid, status, due_in_seconds, carrier_id, error_code, error_class, error_detail, source, ordinal)
     where delivery.ctid = settled.row_ctid
    returning settled.ordinal,
              (select other.seq from delivery other
                where other.number_id = delivery.number_id and other.contact = delivery.contact
                  and other.due_at is not null and other.id <> delivery.id
                limit 1) is not null;
end $$;
