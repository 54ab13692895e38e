-- Whether a session had an answer to HELP in the last minute. Two machines that answer each other stop so.
create or replace function was_helped_lately(of_session uuid) returns boolean language plpgsql stable
set search_path = textback, pg_temp as $$
begin
    return exists (select from message
                    where session_id = of_session and kind = 'help' and created_at > now() - interval '1 minute');
end $$;
