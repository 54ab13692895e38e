-- Ends sessions that timed out, some with closing messages. due_at: when the end of each was due.
-- The caller has locked the sessions and their contacts.
create or replace function end_inactive_sessions(sessions uuid[], due_at timestamptz[], messages planned_message[])
returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    perform store_messages(messages);
    perform close_session(ended.id, 'timed_out', ended.was_due_at) from unnest(sessions, due_at) as ended (id, was_due_at);
end $$;
