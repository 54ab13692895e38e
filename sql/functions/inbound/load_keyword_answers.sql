-- What decides about the answer to a keyword of a contact, with the project's texts:
-- domain/keyword_answer.rs. in_last_minute: the kinds of the answers that the contact got in the
-- last minute, in any of its sessions with the endpoint.
create or replace function load_keyword_answers(of_project uuid, of_endpoint uuid, to_contact text) returns jsonb language plpgsql
set search_path = textback, pg_temp as $$
declare
    given   jsonb;
    answers jsonb;
begin
    -- Each opt-out closes its session, so the answers of a minute may be in several.
    select coalesce(jsonb_agg(answer.kind), '[]') into given
      from (select session.id from session
             where session.project_id = of_project and session.contact = to_contact and session.endpoint_id = of_endpoint
             order by session.id desc limit 100) latest
     cross join lateral (
           select message.kind from message
            where message.session_id = latest.id and message.kind in ('help', 'opt_out', 'opt_in')
              and message.created_at > now() - interval '1 minute') answer;
    select jsonb_build_object('opt_out', opt_out_message, 'opt_in', opt_in_message, 'help', help_message, 'in_last_minute', given,
                              'send_policy', lock_send_policy(of_endpoint), 'has_limits', has_outbound_limits,
                              'smart_encoding', uses_smart_encoding(of_endpoint))
      into answers from project where id = of_project;
    return answers;
end $$;
