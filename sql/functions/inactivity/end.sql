-- Ends sessions that timed out, with closing messages of these ids and bodies; where an id is null, without a message. The
-- caller has locked the sessions and their contacts. Returns for each session the project's limit that suppressed its
-- message, or null.
create or replace function end_inactive_sessions(
    sessions uuid[], message_ids uuid[], bodies text[], encodings text[], segments integer[], delivered boolean[]
)
returns table (session_id uuid, refused text) language plpgsql
set search_path = textback, pg_temp as $$
declare
    ended record;
begin
    for ended in
        select session.id, session.project_id, session.endpoint_id, session.contact, closing.message_id, closing.body,
               closing.encoding, closing.segments, closing.is_delivered
          from unnest(sessions, message_ids, bodies, encodings, segments, delivered)
               as closing (session_id, message_id, body, encoding, segments, is_delivered)
         cross join lateral (select * from session where session.id = closing.session_id limit 1) session
    loop
        session_id := ended.id;
        refused := null;
        if ended.message_id is not null then
            refused := plan_message(ended.message_id, ended.project_id, ended.id, ended.endpoint_id, ended.contact,
                                    'closing', ended.body, ended.encoding, ended.segments, null, null, null, false,
                                    ended.is_delivered);
        end if;
        perform close_session(ended.id, 'timed_out');
        return next;
    end loop;
end $$;
