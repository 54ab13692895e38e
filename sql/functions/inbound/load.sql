-- Locks the contacts of a batch of inbound messages, one message a contact, and returns what
-- decides about each of them (domain/ingest.rs). No row: the message's endpoint is not attached.
--
-- sender: who sent it (domain/message.rs). has_project_limit: whether the project limits its
-- inbound messages (count_inbound). keyword_answers: what decides about the answer to a keyword, if
-- the message may be one that we answer. own_words: the keywords of the project, if it has some and
-- the message may be one. sent_messages: where the text has the form of a reaction. agent_id to
-- warn_after_seconds: those of the session, or of the session that would be opened. state: only
-- where the caller has a permit for a turn of the session's agent, because printing it is the most
-- expensive part of a row.
create or replace function load_inbound(messages inbound_message[])
returns table (
    ordinal integer, "now" timestamptz, endpoint_id uuid, stored_message_id uuid, stored_session_id uuid, consent_kind text,
    consent_at timestamptz, session_id uuid, session_status text, engaged boolean, has_turn boolean, session_warn_after_seconds integer,
    previous_session_id uuid, paused_until timestamptz, agent_id uuid, agent_version integer, environment text, debounce_seconds integer,
    reads_history boolean, warn_after_seconds integer, per_minute integer, repeats_in_five_minutes integer, first_answer integer,
    second_answer integer, in_last_minute integer, passed_in_last_minute integer, has_project_limit boolean, keyword_answers jsonb,
    own_words jsonb, answers_reactions boolean, sent_messages jsonb, sender text, origin text, begun_by_agent boolean, started boolean,
    state jsonb, language text, handled_seq bigint
) language plpgsql
-- One plan a connection. Plans for given values would be made five times before, 10 ms each, and
-- are no better.
set plan_cache_mode = force_generic_plan
set search_path = textback, pg_temp as $$
declare
    locked record;
begin
    -- A batch waits at most 1 s for a lock; then the batcher writes its items one by one.
    perform set_config('lock_timeout', '1s', true);
    locked := lock_inbound_contacts(messages); -- By a statement of its own: a statement's snapshot is older than its locks.
    return query
    -- By "limit 1" each row is looked up. A join planned with few sessions would read all of them.
    select m.ordinal, now(), m.endpoint_of, coalesce(of_carrier.id, of_client.id),
           coalesce(of_carrier.session_id, of_client.session_id), consent.kind, consent.recorded_at, session.id, session.status::text,
           session.engaged, turn.id is not null, session.warn_after_seconds, previous.id, coalesce(session.paused_until, previous.paused_until),
           active.agent_id, coalesce(session.agent_version, current.version), active.environment::text, coalesce(own.debounce_seconds, current.debounce_seconds),
           coalesce(own.reads_history, current.reads_history), current.warn_after_seconds,
           project.texts_per_contact_per_minute, project.repeats_in_five_minutes, coalesce(recent.first_answer, 0),
           coalesce(recent.second_answer, 0), coalesce(recent.in_last_minute, 0), coalesce(recent.passed_in_last_minute, 0), project.texts_per_project_per_minute > 0,
           case when m.may_be_answered or m.may_be_own_word and (project.help_words <> '{}' or m.answers_keywords and project.has_own_words)
                then load_keyword_answers(m.project_id, m.endpoint_of, m."from") end,
           case when m.may_be_own_word and project.has_own_words then jsonb_build_object('opt_out', project.opt_out_words, 'opt_in', project.opt_in_words, 'help', project.help_words) end,
           coalesce(own.reactions, current.reactions) = 'answer', case when m.may_react then load_sent_messages(coalesce(session.id, previous.id)) end,
           case when m."from" = m."to" then 'itself' when own_number.check_at is not null then 'own_number' else 'contact' end,
           session.origin::text, session.begun_by_turn is not null, session.started_at is not null,
           case when m.agent_id = session.agent_id then session.state::jsonb end, session.language, session.handled_seq
      from (select given.*, locked.endpoints[given.ordinality] as endpoint_of, locked.agents[given.ordinality] as agent_of_endpoint, locked.environments[given.ordinality] as environment_of_endpoint
              from unnest(messages) with ordinality given where locked.endpoints[given.ordinality] is not null) m
     cross join lateral (select * from project where project.id = m.project_id limit 1) project
      left join lateral (select id, message.session_id from message where message.project_id = m.project_id and message.carrier_id = m.carrier_id limit 1) of_carrier on true
      left join lateral (
           select kind, recorded_at from consent where consent.endpoint_id = m.endpoint_of and consent.contact = m."from" order by consent.seq desc limit 1) consent on true
      left join lateral (
           select * from session
            where session.endpoint_id = m.endpoint_of and session.contact = m."from" and session.channel = m.channel and session.status <> 'closed'
            limit 1 for update) session on true
      left join lateral (
           -- Only a new session needs it: where two numbers text each other, one session is new.
           select check_at from number where session.engaged is not true and number.project_id = m.project_id and number.number = m."from" limit 1) own_number on true
      left join lateral (
           select earlier.id, earlier.paused_until from session earlier
            where session.id is null and earlier.project_id = m.project_id and earlier.contact = m."from" and earlier.endpoint_id = m.endpoint_of
              and earlier.channel = m.channel order by earlier.id desc limit 1) previous on true
      left join lateral (
           select message.id, message.session_id from message
            where m.client_id is not null and message.session_id = coalesce(session.id, previous.id) and message.client_id = m.client_id
            limit 1) of_client on true
      left join lateral (select turn.id from turn where turn.session_id = session.id limit 1) turn on true
     cross join lateral (
           select * from active_version a where a.agent_id = coalesce(session.agent_id, m.agent_of_endpoint)
              and a.environment = coalesce(session.environment, m.environment_of_endpoint) limit 1) active
     cross join lateral (select * from agent_version version where version.agent_id = active.agent_id and version.version = active.version limit 1) current
      left join lateral ( -- The session's own version, where it is an older one.
           select * from agent_version version where session.agent_version <> active.version
              and version.agent_id = active.agent_id and version.version = session.agent_version limit 1) own on true
      left join lateral (
           -- By "limit 1" the function (2 us a call) is called only where the condition is true.
           select * from recent_messages(coalesce(session.id, previous.id), m.said, project.repeats_in_five_minutes)
            where project.texts_per_contact_per_minute > 0 or project.repeats_in_five_minutes > 0 limit 1) recent on true;
end $$;
