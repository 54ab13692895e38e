-- Copies a session's state to quarantine as text, if it can be printed within 16 MB.
create or replace function quarantine_session_state(of_session uuid) returns void language plpgsql
set search_path = textback, pg_temp as $$
begin
    insert into quarantine (id, project_id, kind, reason, form)
    select gen_random_uuid(), session.project_id, 'session_state', 'session_unreadable: ' || session.id, convert_to(printed.state, 'UTF8')
      from session cross join lateral (select session.state::text as state offset 0) printed
     where session.id = of_session and printed.state <> '{}' and octet_length(printed.state) <= 16777216;
exception
    -- The state itself can't be read.
    when program_limit_exceeded or insufficient_resources or data_exception or internal_error then null;
end $$;
