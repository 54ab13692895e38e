-- Writes an outbound message and plans its delivery. The caller holds the contact's lock and has locked the session's
-- row.
--
-- While the registration of the number is pending, the delivery waits until settle_registration plans it. If the number
-- may not send, the delivery fails at once, because the carrier would block it. A message over a limit of the project
-- is written with a suppressed delivery.
-- is_counted: the caller has counted the message already. is_delivered: it leaves by a carrier; otherwise it has no delivery,
-- and no limit counts it. cut: how many characters were cut. inactivity_seconds: of a
-- warning. Returns the code of the exceeded limit, else null.
create or replace function plan_message(
    new_message uuid, of_project uuid, of_session uuid, from_number uuid, to_contact text,
    of_kind text, saying text, saying_encoding text, saying_segments integer, by_turn uuid, inactivity_seconds integer,
    cut integer, is_counted boolean, is_delivered boolean
) returns text language plpgsql
set search_path = textback, pg_temp as $$
declare
    message_seq bigint;
    policy      text;
    why         text;
    refusal     record;
    is_bounded  boolean;
    ends_as     text;
    class       text;
begin
    -- One statement reads both, and is all that a project without limits costs.
    select send_policy, (select outbound_per_contact_per_hour > 0 or outbound_per_contact_per_day > 0
                          or outbound_per_project_per_minute > 0 or outbound_per_project_per_day > 0
                     from project where project.id = of_project)
      into policy, is_bounded from number where id = from_number;
    if policy <> 'open' then
        -- The policy may be changing right now, so it is read again under a lock. Most numbers are open and not locked.
        select send_policy into policy from number where id = from_number for share;
    end if;
    why := case policy when 'held' then 'held until the registration of its number is approved'
                    when 'blocked' then 'number_not_registered: the carrier blocks texts from this number' end;
    if policy = 'blocked' then
        ends_as := 'failed';
        class := 'permanent_config';
    elsif is_bounded and is_delivered and not is_counted then
        select code, detail into refusal from count_one_outbound(of_project, to_contact);
        if refusal.code is not null then
            ends_as := 'suppressed';
            class := refusal.code;
            why := refusal.detail;
        end if;
    end if;
    insert into message (id, project_id, session_id, direction, kind, body, encoding, segments, turn_id, inactivity_seconds, truncated)
    values (new_message, of_project, of_session, 'outbound', of_kind, saying, saying_encoding, saying_segments, by_turn,
            inactivity_seconds, cut)
    returning seq into message_seq;
    if not is_delivered then
        return null;
    end if;
    insert into delivery (id, project_id, session_id, number_id, contact, seq, status, due_at, error_class, error_detail, history)
    values (new_message, of_project, of_session, from_number, to_contact, message_seq,
            coalesce(ends_as, 'planned'),
            case when ends_as is not null then null when policy = 'held' then 'infinity'::timestamptz else now() end,
            class, why,
            case when ends_as is not null then delivery_step(ends_as, null, null, class, why) else '[]' end);
    return case when ends_as = 'suppressed' then class end;
end $$;
