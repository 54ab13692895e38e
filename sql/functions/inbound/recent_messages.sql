-- Counts what a contact sent in the last five minutes, for the limits of domain/rate_limit.rs:
-- messages in the last minute, those of them that got an answer, and, of our answers to messages
-- with the body `said`, how often the two most frequent were given. said: null if the message can't
-- be a repetition. repeats: the limit on repetitions; our answers are read only where enough
-- messages have the same body. of_session: the contact's newest session, or null, which counts
-- nothing. It also reads the contact's sessions before that one, if that one is younger than five
-- minutes. So an agent that ends each session at once hides no loop.
create or replace function recent_messages(
    of_session uuid, said text, repeats integer, out first_answer integer, out second_answer integer,
    out in_last_minute integer, out passed_in_last_minute integer
) language plpgsql stable
set search_path = textback, pg_temp as $$
declare
    newest    record;
    recent    uuid[] := array[of_session];
    of_recent uuid;
    message   record;
    alike     integer := 0;
begin
    first_answer := 0;
    second_answer := 0;
    in_last_minute := 0;
    passed_in_last_minute := 0;
    if of_session is null then
        return;
    end if;
    select session.project_id, session.endpoint_id, session.contact, session.opened_at, session.last_message_at into newest
      from session where session.id = of_session;
    if newest.last_message_at < now() - interval '5 minutes' then
        return;
    end if;
    if newest.opened_at > now() - interval '5 minutes' then
        recent := array(
            select id
              from (select id, endpoint_id, last_message_at from session
                     where project_id = newest.project_id and contact = newest.contact order by id desc limit 100) latest
             where endpoint_id = newest.endpoint_id and last_message_at > now() - interval '5 minutes');
    end if;

    -- Row by row, newest first, so a long conversation costs no more than its last five minutes. A
    -- thousand rows are enough, because a contact with so many messages in a minute is over the
    -- limit.
    foreach of_recent in array recent loop
        for message in
            select body, skip_reason, created_at from message
             where session_id = of_recent and direction = 'inbound' and kind <> 'keyword'
             order by seq desc limit 1000
        loop
            exit when message.created_at <= now() - interval '5 minutes';
            alike := alike + coalesce(message.body = said, false)::integer;
            if message.created_at > now() - interval '1 minute' then
                in_last_minute := in_last_minute + 1;
                passed_in_last_minute := passed_in_last_minute + (message.skip_reason is null)::integer;
            end if;
        end loop;
    end loop;

    if repeats > 0 and alike + 1 >= repeats then
        select counted.first_answer, counted.second_answer into first_answer, second_answer
          from count_answers(recent, said) counted;
    end if;
end $$;
