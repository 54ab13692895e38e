-- Writes texts of the project as domain/sending.rs decided: what each does to a session, then their
-- messages and their attachments. The caller holds the contacts' locks. effect: open a session of
-- agent_id (superseded is closed, if it is not null), start in session_id, which had no
-- conversation, or join session_id.
create or replace function store_texts(texts jsonb, messages planned_message[]) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    sent record;
begin
    for sent in
        select * from jsonb_to_recordset(texts) as decided (
               project_id uuid, number_id uuid, pool_id text, contact text, channel text, turn_id uuid, effect text, agent_id uuid,
               superseded uuid, session_id uuid, withdraws_warning boolean, brings_inactivity_forward boolean,
               new_session_id uuid, new_turn_id uuid)
    loop
        case sent.effect
            when 'open' then
                perform open_outbound_session(sent.new_session_id, sent.project_id, sent.number_id, sent.contact, sent.channel,
                                              sent.agent_id, sent.superseded);
                update session set begun_by_turn = sent.turn_id, pool_id = sent.pool_id
                 where id = sent.new_session_id and num_nonnulls(sent.turn_id, sent.pool_id) > 0;
                -- The turn runs the start function.
                perform enqueue_turn(sent.new_turn_id, sent.new_session_id);
            when 'start' then
                update session
                   set origin = 'outbound', begun_by_turn = sent.turn_id, pool_id = sent.pool_id, last_message_at = now(),
                       warn_after_seconds = inactivity_seconds(id)
                 where id = sent.session_id;
                perform enqueue_turn(sent.new_turn_id, sent.session_id);
            when 'join' then
                perform join_session(sent.session_id, sent.withdraws_warning, sent.brings_inactivity_forward);
                update session set pool_id = sent.pool_id
                 where id = sent.session_id and sent.pool_id is not null and pool_id is distinct from sent.pool_id;
        end case;
    end loop;
    perform store_messages(messages);
    insert into attachment (id, project_id, message_id, position, url)
    select (item ->> 'id')::uuid, text.project_id, text.message_id, media.ordinal - 1, item ->> 'url'
      from jsonb_to_recordset(texts) as text (project_id uuid, message_id uuid, media jsonb)
     cross join lateral jsonb_array_elements(text.media) with ordinality as media (item, ordinal);
end $$;
