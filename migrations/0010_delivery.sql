-- Steps 5 to 7 of the road: what became of deliveries, by the carrier's answer, its reports and its list.

-- How far a delivery has come; it only moves to a higher rank.
create function delivery_rank(status text) returns integer language plpgsql immutable
set search_path = textback, pg_temp as $$
begin
    return case status when 'planned' then 0 when 'sending' then 1 when 'unknown' then 2
                       when 'accepted' then 3 when 'sent' then 4 else 5 end;
end $$;

-- A warning that can't be delivered: its session is looked at now. Whatever its job's time: somebody may be moving it.
create function hasten_silence(of_delivery uuid) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    update silence set due_at = now()
      from delivery join message on message.id = delivery.id
     where delivery.id = of_delivery and message.kind = 'warning'
       and silence.session_id = delivery.session_id;
end $$;

-- Codes by which the carrier tells that a number lacks its registration: 30034 (A2P 10DLC) and 30032 (toll-free). Of one
-- that waits for its approval, or did not get it, the report is no news.
create function note_registration(of_delivery uuid, code integer) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    if code in (30032, 30034) then
        perform settle_registration(number.id, 'unregistered', 'the carrier blocked a text for it (error ' || code || ')')
           from delivery join number on number.id = delivery.number_id
          where delivery.id = of_delivery and number.registration not in ('pending', 'rejected');
        -- It may be the echo of a time before its approval: the carrier is asked at once.
        update number set check_at = now() from delivery where delivery.id = of_delivery and number.id = delivery.number_id;
    end if;
end $$;

-- What the carrier said to a delivery. ordinal: its place in the batch. status: accepted, failed, unknown, or planned again after
-- retry_after_seconds.
create type delivery_outcome as (
    ordinal             integer,
    id                  uuid,
    token               uuid,
    status              text,
    carrier_sid         text,
    error_code          integer,
    error_class         text,
    error_detail        text,
    retry_after_seconds double precision,
    consent_id          uuid
);

-- Answers one row a delivery: settled, or stale when the token is no longer its own. A status
-- callback may have been faster than the carrier's answer: then what it said stays.
-- next_waits: the contact has another text that may wait for this one.
create function settle_deliveries(deliveries delivery_outcome[])
returns table (ordinal integer, outcome text, next_waits boolean) language plpgsql
-- As in take_in.
set plan_cache_mode = force_generic_plan
set lock_timeout = '1s'
set search_path = textback, pg_temp as $$
declare
    settling  record;
    lock_of   record;
    done      integer[] := '{}';
    accepted  jsonb := delivery_step('accepted', 'carrier', null, null, null);
begin
    -- What is planned again, and what tells of an opt-out, queues with the contact's consent (see opt_out), before any
    -- delivery is locked and in everybody's order.
    for lock_of in
        select distinct of_it.number_id, of_it.contact
          from unnest(deliveries) d
         cross join lateral (select number_id, contact from delivery where delivery.id = d.id limit 1) of_it
         where d.status = 'planned' or d.error_class = 'opted_out'
         order by of_it.number_id, of_it.contact
    loop
        perform lock_contact(lock_of.number_id, lock_of.contact);
    end loop;

    -- Nearly all are accepted: these in one statement. Each is looked up by its key, whatever the statistics say of the table, and
    -- written where it lies. One that was changed since the statement began lies elsewhere and is left to the loop below.
    for ordinal, next_waits in
        update delivery
           set status = 'accepted', due_at = null, lease_token = null, leased_until = null, carrier_sid = d.carrier_sid,
               accepted_at = now(), updated_at = now(), error_code = null, error_class = null, error_detail = null,
               -- At most once a delivery, so the bound of with_step holds without its call for each.
               history = history || accepted
          from unnest(deliveries) d
         cross join lateral (
               select ctid as place from delivery where delivery.id = d.id and delivery.lease_token = d.token
                limit 1 for update) held
         where d.status = 'accepted' and delivery.ctid = held.place
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
            -- Something is left to do: to send it again, or to find out whether the carrier has it.
            update delivery
               set status = settling.status, due_at = now() + make_interval(secs => settling.retry_after_seconds),
                   lease_token = null, leased_until = null, updated_at = now(),
                   error_code = settling.error_code, error_class = settling.error_class, error_detail = settling.error_detail,
                   history = with_step(history, delivery_step(settling.status, 'carrier', settling.error_code, settling.error_class, settling.error_detail))
             where id = settling.id and lease_token = settling.token;
        else
            update delivery
               set status = settling.status, due_at = null, lease_token = null, leased_until = null, updated_at = now(),
                   carrier_sid = coalesce(settling.carrier_sid, carrier_sid),
                   accepted_at = case when settling.status = 'accepted' then now() end,
                   error_code = settling.error_code, error_class = settling.error_class, error_detail = settling.error_detail,
                   history = with_step(history, delivery_step(settling.status, 'carrier', settling.error_code, settling.error_class, settling.error_detail))
             where id = settling.id and lease_token = settling.token;
        end if;
        outcome := case when found then 'settled' else 'stale' end;
        if settling.status = 'planned' then
            perform withdraw_if_stale(settling.id);
        elsif settling.status = 'failed' and outcome = 'settled' then
            perform hasten_silence(settling.id);
            perform note_registration(settling.id, settling.error_code);
            if settling.error_class = 'opted_out' then
                perform believe_refusal(settling.consent_id, settling.id);
            end if;
        end if;
        return next;
    end loop;
end $$;

-- Step 7: the carrier reports. Forward only; late and doubled reports change nothing.
-- Answers moved, unchanged, or unknown when no delivery of the project fits.
create function record_status(
    of_project uuid, of_delivery uuid, of_carrier_sid text, to_status text, code integer, class text, new_consent uuid
) returns text language plpgsql
set search_path = textback, pg_temp as $$
declare
    held      record;
    this_time timestamptz := now();
begin
    select id, number_id, contact into held from delivery
     where project_id = of_project
       and id = of_delivery and (carrier_sid is null or carrier_sid = of_carrier_sid);
    if not found then
        select id, number_id, contact into held from delivery
         where project_id = of_project and carrier_sid = of_carrier_sid;
    end if;
    if not found then
        return 'unknown';
    end if;
    if class = 'opted_out' then
        -- First, as everybody does.
        perform lock_contact(held.number_id, held.contact);
    end if;
    select id, status, carrier_sid into held from delivery
     where id = held.id and (carrier_sid is null or carrier_sid = of_carrier_sid)
       for update;
    if not found then
        return 'unknown';
    end if;
    -- What we gave up or took back without the carrier's word is open to that word.
    if delivery_rank(to_status) <= delivery_rank(held.status)
       and not (held.carrier_sid is null and held.status in ('failed', 'suppressed') and to_status <> 'failed') then
        return 'unchanged';
    end if;
    update delivery
       set status = to_status, carrier_sid = of_carrier_sid, due_at = null, lease_token = null, leased_until = null,
           accepted_at = case when accepted_at is null then this_time else accepted_at end,
           error_code = code, error_class = class, error_detail = null, updated_at = now(),
           history = with_step(history, delivery_step(to_status, 'report', code, class, null))
     where id = held.id;
    if to_status = 'failed' then
        perform hasten_silence(held.id);
        perform note_registration(held.id, code);
        if class = 'opted_out' then
            perform believe_refusal(new_consent, held.id);
        end if;
    end if;
    return 'moved';
end $$;

-- Settles an unknown delivery by what the carrier's list of messages shows. candidates are the ids of messages to the
-- same contact with the same text that are not older than the attempt, the oldest first; null when the list could not
-- be read. Only a list that was read long enough after the attempt makes an absence certain.
-- Answers found, absent (it will be sent again), given_up (it was absent too often), waiting, or stale when the token is no
-- longer its own.
create function resolve_unknown(of_delivery uuid, by_token uuid, candidates text[], settle_after_seconds double precision)
returns text language plpgsql
set search_path = textback, pg_temp as $$
declare
    held      record;
    found_sid text;
    absences  integer;
    this_time timestamptz := now();
begin
    -- It may be planned again: see opt_out.
    select number_id, contact into held from delivery where id = of_delivery;
    perform lock_contact(held.number_id, held.contact);
    select id, project_id, status, attempted_at, history into held from delivery
     where id = of_delivery and lease_token = by_token and status = 'unknown'
       for update;
    if not found then
        return 'stale';
    end if;

    -- A message that is another delivery's is not this one's, however alike their texts are.
    select candidate into found_sid
      from unnest(candidates) with ordinality as listed (candidate, position)
     where not exists (
               select 1 from delivery other where other.project_id = held.project_id and other.carrier_sid = listed.candidate)
     order by position
     limit 1;
    if found_sid is not null then
        update delivery
           set status = 'accepted', carrier_sid = found_sid, due_at = null, lease_token = null, leased_until = null,
               accepted_at = this_time, error_class = null, error_detail = null, updated_at = this_time,
               history = with_step(history, delivery_step('accepted', 'list', null, null, null))
         where id = held.id;
        return 'found';
    end if;

    if candidates is not null and held.attempted_at + make_interval(secs => settle_after_seconds) < this_time then
        select count(*) into absences from jsonb_array_elements(held.history) step
         where step ->> 'by' = 'list' and step ->> 'status' = 'planned';
        if absences >= 3 then
            -- A text that the carrier stumbles over each time must not hold up what follows it for ever.
            update delivery
               set status = 'failed', due_at = null, lease_token = null, leased_until = null, updated_at = this_time,
                   error_class = 'ambiguous', error_detail = 'the carrier never had it, four times',
                   history = with_step(history, delivery_step('failed', 'list', null, 'ambiguous', 'the carrier never had it, four times'))
             where id = held.id;
            perform hasten_silence(held.id);
            return 'given_up';
        end if;
        update delivery
           set status = 'planned', due_at = this_time, lease_token = null, leased_until = null, updated_at = this_time,
               error_detail = 'the carrier does not have it; it is sent again',
               history = with_step(history, delivery_step('planned', 'list', null, null, 'the carrier does not have it; it is sent again'))
         where id = held.id;
        perform withdraw_if_stale(held.id);
        return 'absent';
    end if;

    update delivery
       set due_at = this_time + make_interval(secs => least(settle_after_seconds / 4, 15)),
           lease_token = null, leased_until = null, updated_at = this_time
     where id = held.id;
    return 'waiting';
end $$;

-- Gives back deliveries that were claimed and not begun, in their contacts' queue (see opt_out).
create function give_back_deliveries(ids uuid[], tokens uuid[]) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    lock_of record;
begin
    for lock_of in
        select distinct number_id, contact from delivery where id = any (ids) order by number_id, contact
    loop
        perform lock_contact(lock_of.number_id, lock_of.contact);
    end loop;
    update delivery
       set status = 'planned', lease_token = null, leased_until = null, attempts = attempts - 1, updated_at = now(),
           history = history - (-1)
     -- Not by a join: one that was planned while the table was empty would read all of its index.
     where id = any (ids)
       and lease_token = any (array(select given.token from unnest(ids, tokens) as given (id, token) where given.id = delivery.id));
    perform withdraw_if_stale(id) from unnest(ids) as id;
end $$;
