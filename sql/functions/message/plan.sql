-- Writes an outbound message and plans its delivery. The caller holds the contact's lock and has locked the session's
-- row.
--
-- While the registration of the number is pending, the delivery waits until settle_registration plans it. If the number
-- may not send, the delivery fails at once, because the carrier would block it. A message over a limit of the project
-- is written with a suppressed delivery.
-- is_counted: the caller has counted the message already. cut: how many characters were cut. inactivity_seconds: of a
-- warning. Returns the code of the exceeded limit, else null.
create or replace function plan_message(
    new_message uuid, of_project uuid, of_session uuid, from_number uuid, to_contact text,
    of_kind text, saying text, by_turn uuid, inactivity integer, cut integer, is_counted boolean
) returns text language plpgsql
set search_path = textback, pg_temp as $$
declare
    message_seq bigint;
    way         text;
    why         text;
    refusal     record;
    is_bounded  boolean;
    ends_as     text;
    class       text;
begin
    -- Both in one look: where no limit is set, nothing more is asked.
    select send_policy, (select outbound_per_contact_per_hour > 0 or outbound_per_contact_per_day > 0
                          or outbound_per_project_per_minute > 0 or outbound_per_project_per_day > 0
                     from project where project.id = of_project)
      into way, is_bounded from number where id = from_number;
    if way <> 'open' then
        -- It may be changing at this moment: then we wait for what it comes to. Nearly all numbers are open, and not locked.
        select send_policy into way from number where id = from_number for share;
    end if;
    why := case way when 'held' then 'held until the registration of its number is approved'
                    when 'blocked' then 'number_not_registered: the carrier blocks texts from this number' end;
    if way = 'blocked' then
        ends_as := 'failed';
        class := 'permanent_config';
    elsif is_bounded and not is_counted then
        select code, detail into refusal from count_one_outbound(of_project, to_contact);
        if refusal.code is not null then
            ends_as := 'suppressed';
            class := refusal.code;
            why := refusal.detail;
        end if;
    end if;
    insert into message (id, project_id, session_id, direction, kind, body, turn_id, inactivity_seconds, truncated)
    values (new_message, of_project, of_session, 'outbound', of_kind, saying, by_turn, inactivity, cut)
    returning seq into message_seq;
    insert into delivery (id, project_id, session_id, number_id, contact, seq, status, due_at, error_class, error_detail, history)
    values (new_message, of_project, of_session, from_number, to_contact, message_seq,
            coalesce(ends_as, 'planned'),
            case when ends_as is not null then null when way = 'held' then 'infinity'::timestamptz else now() end,
            class, why,
            case when ends_as is not null then delivery_step(ends_as, null, null, class, why) else '[]' end);
    return case when ends_as = 'suppressed' then class end;
end $$;
