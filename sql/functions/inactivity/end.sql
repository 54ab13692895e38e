-- Ends sessions that timed out, some with closing messages. inactive_at: when the inactivity of each was over. The caller has locked
-- the sessions and their contacts.
create or replace function end_inactive_sessions(sessions uuid[], inactive_at timestamptz[], messages planned_message[])
returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    perform store_messages(messages);
    perform close_session(ended.id, 'timed_out', ended.was_inactive_at) from unnest(sessions, inactive_at) as ended (id, was_inactive_at);
end $$;
