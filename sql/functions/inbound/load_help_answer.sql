-- What decides about the answer to HELP, with its body: domain/message_plan.rs. Null if the project has none, or if the session
-- got one in the last minute.
create or replace function load_help_answer(of_project uuid, of_endpoint uuid, of_session uuid) returns jsonb language plpgsql
set search_path = textback, pg_temp as $$
declare
    answer jsonb;
begin
    if was_helped_lately(of_session) then
        return null;
    end if;
    select jsonb_build_object('body', help_message, 'send_policy', lock_send_policy(of_endpoint), 'has_limits', has_outbound_limits,
                              'smart_encoding', uses_smart_encoding(of_endpoint))
      into answer from project where id = of_project and help_message is not null;
    return answer;
end $$;
