-- Plans an outbound text that no turn says, with its attachments. media: [{id, url}]. The caller holds the contact's
-- lock and has counted the message.
create or replace function plan_text(
    of_project uuid, from_number uuid, to_contact text, in_session uuid, saying text, saying_encoding text, saying_segments integer,
    media jsonb, by_turn uuid, new_message uuid
) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    perform plan_message(new_message, of_project, in_session, from_number, to_contact, 'text', saying, saying_encoding,
                         saying_segments, by_turn, null, null, true, true);
    insert into attachment (id, project_id, message_id, position, url)
    select (item ->> 'id')::uuid, of_project, new_message, media.ordinal - 1, item ->> 'url'
      from jsonb_array_elements(media) with ordinality as media (item, ordinal);
end $$;
