-- Stores a batch of inbound messages. forms: how each came, for quarantine. begin_token, begin_seconds: see
-- ingest_fast_path. It takes the locks of all contacts.
-- Returns one row a message: stored (with its session's agent, and from begun_at on what the agent needs if its turn is
-- claimed), noted (no turn answers it; why has the reason), duplicate, or quarantined (why has the reason).
create or replace function ingest(texts incoming_text[], forms bytea[], begin_token uuid, begin_seconds double precision)
returns table (ordinal integer, outcome text, why text, message_id uuid, session_id uuid, agent_id uuid, begun_at timestamptz,
               seq bigint, number_id uuid, origin text, begun_by_agent boolean, agent_version integer, started boolean, state jsonb,
               language text, handled_seq bigint) language plpgsql
-- One plan a connection. Plans for given values would be made five times before, 10 ms each, and are no better.
set plan_cache_mode = force_generic_plan
-- One that waits for somebody's lock keeps all others of its batch: after a second they go one by one.
set lock_timeout = '1s'
set search_path = textback, pg_temp as $$
declare
    text_in   record;
    locked      record;
    rate      record;
    opened_id uuid;
    word      text;
    is_out    boolean;
    -- By project with a limit: how many of its messages are still within the limit.
    allowances jsonb := '{}';
    taken     integer;
    -- The attached numbers of the batch. The locks cover only these; a number that is attached later is left to the loop.
    numbers   uuid[];
begin
    -- Before any contact's lock, and in one order: two batches that count can't wait for each other.
    for rate in
        select t.project_id, count(*)::integer as texts, project.texts_per_project_per_minute as most
          from unnest(texts) t
          join project on project.id = t.project_id and project.texts_per_project_per_minute > 0
         where coalesce(t.keyword, 'yes') = 'yes' and t.reason is null
         group by t.project_id, project.texts_per_project_per_minute
         order by t.project_id
    loop
        allowances := allowances || jsonb_build_object(rate.project_id, count_project_rate(rate.project_id, rate.texts, rate.most));
    end loop;

    -- Every batch takes its locks in this order, so two batches can't wait for each other.
    numbers := array(select distinct number.id
                       from unnest(texts) t
                       join number on number.project_id = t.project_id and number.number = t."to" and number.detached_at is null
                      where t.reason is null);
    -- The same as lock_contact, inline, because a call for each message cost 4 us.
    perform pg_advisory_xact_lock(hashtextextended(contact.number_id::text || ' ' || contact."from", 0))
       from (select number.id as number_id, t."from"
               from unnest(texts) t
               join number on number.project_id = t.project_id and number.number = t."to" and number.id = any (numbers)
              where t.reason is null
              order by number.id, t."from") contact;

    return query
    select t.ordinal, 'stored', null::text, t.message_id, t.session_id, t.agent_id, t.begun_at, t.seq, t.number_id, t.origin,
           t.begun_by_agent, t.agent_version, t.started, t.state, t.language, t.handled_seq
      from ingest_fast_path(texts, numbers, begin_token, begin_seconds) t;
    get diagnostics taken = row_count;
    if taken = cardinality(texts) then
        return;
    end if;

    for text_in in
        select t.*, number.id as number_id, number.agent_id as agent_of_number
          from unnest(texts) t
          left join number on number.project_id = t.project_id and number.number = t."to"
                          and number.detached_at is null and t.reason is null
         -- The messages of the fast path have been inserted.
         where (select message.id from message where message.id = t.message_id limit 1) is null
         order by number.id, t."from", t.ordinal
    loop
        ordinal := text_in.ordinal;
        message_id := null;
        session_id := null;
        why := text_in.reason;

        if why is null and text_in.number_id is null then
            why := 'number_not_attached';
        end if;
        if why is not null then
            insert into quarantine (id, project_id, kind, reason, carrier_sid, form)
            values (text_in.message_id, text_in.project_id, 'inbound', why, text_in.carrier_sid, forms[text_in.ordinal + 1])
            on conflict do nothing;
            outcome := 'quarantined';
            return next;
            continue;
        end if;

        -- The lock is held already, unless the number was attached since.
        perform lock_contact(text_in.number_id, text_in."from");

        select message.id, message.session_id into message_id, session_id from message
         where message.project_id = text_in.project_id and message.carrier_sid = text_in.carrier_sid
           and message.direction = 'inbound';
        if found then
            outcome := 'duplicate';
            return next;
            continue;
        end if;

        is_out := has_opted_out(text_in.number_id, text_in."from");
        word := text_in.keyword;
        if word = 'yes' then
            word := case when is_out then 'start' end;
        end if;

        opened_id := find_or_open_session(text_in.session_id, text_in.project_id, text_in.number_id,
                                          text_in."from", 'sms', text_in.agent_of_number, 'inbound');
        if word is not null then
            why := 'keyword';
        elsif is_out then
            -- Only a keyword opts in again. The message is stored without an answer.
            why := 'opted_out';
        else
            why := rate_limit_reason(opened_id, case when text_in.media is null and text_in.body <> '' then text_in.body end);
            if why = 'repeats' then
                update session set paused_until = now() + interval '10 minutes' where id = opened_id;
            elsif why is null and allowances ? text_in.project_id::text then
                allowances := allowances || jsonb_build_object(text_in.project_id, (allowances ->> text_in.project_id::text)::integer - 1);
                if (allowances ->> text_in.project_id::text)::integer < 0 then
                    why := 'project_too_fast';
                end if;
            end if;
        end if;

        if why is null then
            select engaged, status, inactivity_seconds(id) as inactivity_after into locked from session where id = opened_id;
            update session
               set last_message_at = greatest(last_message_at, now()), warn_after_seconds = locked.inactivity_after,
                   engaged = true, status = 'open', warned_at = null
             where id = opened_id;
            perform schedule_inactivity(opened_id, locked.inactivity_after, not locked.engaged);
            if locked.status = 'warned' then
                perform withdraw_stale_deliveries(text_in.number_id, text_in."from", '{warning}');
            end if;
        end if;

        -- No "on conflict" here: the same id under another contact would leave an empty session. The error fails the batch,
        -- and the caller's second try finds the duplicate.
        insert into message (id, project_id, session_id, direction, kind, body, carrier_sid, skip_reason)
        values (text_in.message_id, text_in.project_id, opened_id, 'inbound',
                case when word is null then 'text' else 'keyword' end, text_in.body, text_in.carrier_sid, why);
        if text_in.media is not null then
            insert into attachment (id, project_id, message_id, position, url, content_type)
            select (item ->> 'id')::uuid, text_in.project_id, text_in.message_id, media.ordinal - 1, item ->> 'url', item ->> 'content_type'
              from jsonb_array_elements(text_in.media) with ordinality as media (item, ordinal);
        end if;

        if why is null then
            perform enqueue_turn(text_in.turn_id, opened_id);
        elsif word is not null then
            perform apply_keyword(word, opened_id, text_in.number_id, text_in.project_id, text_in."from", text_in.body,
                                 text_in.message_id, text_in.said_at, text_in.consent_id, text_in.help_message_id);
        end if;

        message_id := text_in.message_id;
        session_id := opened_id;
        outcome := case when why is null then 'stored' else 'noted' end;
        return next;
    end loop;
end $$;
