-- Stores planned messages that no turn says, with their deliveries, by the statement that stores
-- those of turns. The caller holds the contacts' locks and has locked the sessions' rows.
create or replace function store_messages(messages planned_message[]) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    perform store_turns('{}', messages, '{}');
end $$;
