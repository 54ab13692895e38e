-- Ends sessions that timed out, some with closing messages. The caller has locked the sessions and their contacts.
create or replace function end_inactive_sessions(sessions uuid[], messages planned_message[]) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    perform store_messages(messages);
    perform close_session(ended.id, 'timed_out') from unnest(sessions) as ended (id);
end $$;
