-- Counts our answers of the last five minutes to messages with the body `said` in these sessions:
-- how often the two most frequent were given. An answer is all that we sent after the message and
-- before the next one of the contact, so messages that were answered together count once, and a
-- message without an answer does not count.
create or replace function count_answers(sessions uuid[], said text, out first_answer integer, out second_answer integer)
language plpgsql stable
set search_path = textback, pg_temp as $$
declare
    of_session uuid;
    message    record;
    answer     text;
    answers    text[] := '{}';
begin
    foreach of_session in array sessions loop
        answer := '';
        -- As in recent_messages: newest first, and no further than five minutes.
        for message in
            select direction, body, created_at from message where session_id = of_session order by seq desc limit 1000
        loop
            exit when message.created_at <= now() - interval '5 minutes';
            if message.direction = 'outbound' then
                answer := md5(message.body || answer);
            else
                if message.body = said and answer <> '' then
                    answers := answers || answer;
                end if;
                answer := '';
            end if;
        end loop;
    end loop;
    select coalesce(max(given.times) filter (where given.position = 1), 0), coalesce(max(given.times) filter (where given.position = 2), 0)
      into first_answer, second_answer
      from (select count(*) as times, row_number() over (order by count(*) desc) as position
              from unnest(answers) as answered (answer) group by answered.answer) given;
end $$;
