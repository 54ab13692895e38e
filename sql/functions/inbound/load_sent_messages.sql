-- Our last 20 messages to a contact, the newest first, as [{id, body, has_media}]: those of a
-- session and of the one before it. domain/reaction.rs looks for the one that a reaction is about.
create or replace function load_sent_messages(of_session uuid) returns jsonb language plpgsql stable
set search_path = textback, pg_temp as $$
begin
    return (
        select coalesce(jsonb_agg(jsonb_build_object(
                   'id', sent.id, 'body', sent.body,
                   'has_media', exists (select from attachment where attachment.message_id = sent.id)) order by sent.seq desc), '[]')
          from (select of_one.id, of_one.seq, of_one.body
                  from (select session.id from session where session.id = of_session
                         union all
                        select session.previous_session_id from session where session.id = of_session) of_contact
                 cross join lateral (
                       select message.id, message.seq, message.body from message
                        where message.session_id = of_contact.id and message.direction = 'outbound'
                        order by message.seq desc limit 20) of_one
                 order by of_one.seq desc limit 20) sent);
end $$;
