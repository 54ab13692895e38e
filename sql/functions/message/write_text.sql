-- Writes one text as domain/sending.rs decided, if no limit of the project refuses it. The caller holds the contact's
-- lock. effect: open a session of agent_id (superseded is closed, if it is not null), start in session_id, which had no
-- conversation, or join session_id. Returns the session; or the limit that refuses the text, with the end of its window.
create or replace function write_text(decided jsonb)
returns table (session_id uuid, refused text, until_at timestamptz) language plpgsql
set search_path = textback, pg_temp as $$
declare
    sent record;
begin
    select * into sent
      from jsonb_to_record(decided) as decided (
           message_id uuid, project_id uuid, number_id uuid, contact text, channel text, body text, encoding text, segments integer,
           media jsonb, turn_id uuid,
           effect text, agent_id uuid, superseded uuid, session_id uuid, withdraws_warning boolean,
           brings_inactivity_forward boolean, new_session_id uuid, new_turn_id uuid);
    -- Counted before any change, so a text over a limit leaves the session as it is.
    select limits.code, limits.until_at into refused, until_at from count_one_outbound(sent.project_id, sent.contact) limits;
    if refused is not null then
        return next;
        return;
    end if;
    session_id := sent.session_id;
    case sent.effect
        when 'open' then
            session_id := open_outbound_session(sent.new_session_id, sent.project_id, sent.number_id, sent.contact, sent.channel,
                                                sent.agent_id, sent.superseded);
            update session set begun_by_turn = sent.turn_id where id = write_text.session_id and sent.turn_id is not null;
            -- The turn runs the start function.
            perform enqueue_turn(sent.new_turn_id, session_id);
        when 'start' then
            update session
               set origin = 'outbound', begun_by_turn = sent.turn_id, last_message_at = now(),
                   warn_after_seconds = inactivity_seconds(id)
             where id = sent.session_id;
            perform enqueue_turn(sent.new_turn_id, session_id);
        when 'join' then
            perform join_session(session_id, sent.withdraws_warning, sent.brings_inactivity_forward);
    end case;
    perform plan_text(sent.project_id, sent.number_id, sent.contact, session_id, sent.body, sent.encoding, sent.segments,
                      sent.media, sent.turn_id, sent.message_id);
    return next;
end $$;
