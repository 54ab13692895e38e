-- The attachments of a message as JSON, for operators. The claim of a turn builds the same JSON
-- inline for agents, because a call for each message would cost more.
create or replace function message_media(of_message uuid) returns jsonb language plpgsql stable
set search_path = textback, pg_temp as $$
declare
    media jsonb;
begin
    select jsonb_agg(jsonb_build_object('id', id, 'url', url, 'content_type', content_type, 'bytes', bytes) order by position) into media
      from attachment where message_id = of_message;
    return media;
end $$;
