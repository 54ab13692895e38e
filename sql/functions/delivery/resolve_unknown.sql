-- Settles an unknown delivery by the carrier's list of messages. candidates: the ids of the listed messages with the
-- same contact and body that are not older than the attempt, oldest first; null when the list could not be read. An
-- absence is certain only if the list was read settle_after_seconds after the attempt. It takes the contact's lock.
-- Returns found, absent (planned again), given_up (absent too often), waiting, or stale when the token is no longer its
-- own.
create or replace function resolve_unknown_delivery(of_delivery uuid, by_token uuid, candidates text[], settle_after_seconds double precision)
returns text language plpgsql
set search_path = textback, pg_temp as $$
declare
    locked      record;
    found_sid text;
    absences  integer;
    this_time timestamptz := now();
begin
    -- The delivery may be planned again, which needs the contact's lock: see opt_out.
    select number_id, contact into locked from delivery where id = of_delivery;
    perform lock_contact(locked.number_id, locked.contact);
    select id, project_id, status, attempted_at, history into locked from delivery
     where id = of_delivery and lease_token = by_token and status = 'unknown'
       for update;
    if not found then
        return 'stale';
    end if;

    -- A message that belongs to another delivery is none of this one, even if the bodies are equal.
    select candidate into found_sid
      from unnest(candidates) with ordinality as listed (candidate, position)
     where not exists (
               select 1 from delivery other where other.project_id = locked.project_id and other.carrier_sid = listed.candidate)
     order by position
     limit 1;
    if found_sid is not null then
        update delivery
           set status = 'accepted', carrier_sid = found_sid, due_at = null, lease_token = null, leased_until = null,
               accepted_at = this_time, error_class = null, error_detail = null, updated_at = this_time,
               history = append_step(history, delivery_step('accepted', 'list', null, null, null))
         where id = locked.id;
        return 'found';
    end if;

    if candidates is not null and locked.attempted_at + make_interval(secs => settle_after_seconds) < this_time then
        select count(*) into absences from jsonb_array_elements(locked.history) step
         where step ->> 'by' = 'list' and step ->> 'status' = 'planned';
        if absences >= 3 then
            -- A message that the carrier loses each time must not block the contact's later messages for ever.
            update delivery
               set status = 'failed', due_at = null, lease_token = null, leased_until = null, updated_at = this_time,
                   error_class = 'ambiguous', error_detail = 'the carrier never had it, four times',
                   history = append_step(history, delivery_step('failed', 'list', null, 'ambiguous', 'the carrier never had it, four times'))
             where id = locked.id;
            perform expedite_inactivity(locked.id);
            return 'given_up';
        end if;
        update delivery
           set status = 'planned', due_at = this_time, lease_token = null, leased_until = null, updated_at = this_time,
               error_detail = 'the carrier does not have it; it is sent again',
               history = append_step(history, delivery_step('planned', 'list', null, null, 'the carrier does not have it; it is sent again'))
         where id = locked.id;
        perform withdraw_delivery_if_stale(locked.id);
        return 'absent';
    end if;

    update delivery
       set due_at = this_time + make_interval(secs => least(settle_after_seconds / 4, 15)),
           lease_token = null, leased_until = null, updated_at = this_time
     where id = locked.id;
    return 'waiting';
end $$;
