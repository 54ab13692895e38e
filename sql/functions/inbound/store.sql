-- Stores a batch of inbound messages as domain/ingest.rs decided, one message a contact, in one
-- statement, which costs a third of one after the other. The caller has locked the contacts and
-- their sessions (load_inbound). A turn with is_claimed is claimed under claim_token for
-- claim_seconds. Returns the seqs of the messages, in their order.
create or replace function store_inbound(messages inbound_decision[], claim_token uuid, claim_seconds double precision)
returns bigint[] language plpgsql
-- As in load_inbound.
set plan_cache_mode = force_generic_plan
set search_path = textback, pg_temp as $$
declare
    -- A variable, because a distributed table refuses now() inside case and coalesce.
    this_time timestamptz := now();
    -- Drawn before the inserts, so no join with the inserted rows is needed. The contacts' locks
    -- keep the order.
    seqs      bigint[] := array(select nextval('message_seq_seq') from unnest(messages));
begin
    with decided as (
        select m.*, seqs[row_number() over ()] as seq from unnest(messages) m
    ), opened as (
        insert into session (id, project_id, endpoint_id, contact, channel, status, origin, engaged, agent_id, agent_version,
                             environment, warn_after_seconds, previous_session_id, paused_until)
        select session_id, project_id, endpoint_id, contact, channel, 'open', 'inbound', is_answered, agent_id, agent_version,
               environment, warn_after_seconds, previous_session_id, paused_until
          from decided where opens_session
    ), joined as (
        -- Found by the key and written by the ctid: a join that was planned while there were few
        -- sessions would read all.
        update session
           set last_message_at = case when found.is_answered then greatest(last_message_at, this_time) else last_message_at end,
               warn_after_seconds = case when found.is_answered then found.warn_after_seconds else session.warn_after_seconds end,
               engaged = engaged or found.is_answered,
               status = case when found.is_answered then 'open' else status end,
               warned_at = case when found.is_answered then null else warned_at end,
               paused_until = found.paused_until
          from (select locked.row_ctid, decided.is_answered, decided.warn_after_seconds, decided.paused_until
                  from decided
                 cross join lateral (select ctid as row_ctid from session where session.id = decided.session_id limit 1) locked
                 where not decided.opens_session) found
         where session.ctid = found.row_ctid
    ), scheduled as (
        insert into inactivity (session_id, project_id, due_at)
        select session_id, project_id, now() + make_interval(secs => warn_after_seconds) from decided where inactivity = 'schedule'
        on conflict on constraint a_session_has_one_inactivity_job do nothing
    ), brought_forward as (
        update inactivity set due_at = earlier.due_at
          from (select locked.row_ctid, now() + make_interval(secs => decided.warn_after_seconds) as due_at
                  from decided
                 cross join lateral (
                       select ctid as row_ctid from inactivity
                        where inactivity.session_id = decided.session_id
                          and inactivity.due_at > now() + make_interval(secs => decided.warn_after_seconds)
                        limit 1) locked
                 where decided.inactivity = 'bring_forward') earlier
         where inactivity.ctid = earlier.row_ctid
    ), stored as (
        insert into message (id, seq, project_id, session_id, direction, kind, body, reaction, encoding, segments, carrier_id, client_id, skip_reason)
               overriding system value
        select d.message_id, d.seq, project_id, session_id, 'inbound', kind, body, reaction, encoding, segments, carrier_id, client_id, skip_reason
          from decided d
    )
    -- A message that the turn of its session covers has no turn_id.
    insert into turn (id, session_id, project_id, agent_id, due_at, seen_seq, attempts, lease_token, leased_until)
    select turn_id, session_id, project_id, agent_id, now() + make_interval(secs => debounce_seconds),
           case when is_claimed then decided.seq end, is_claimed::integer, case when is_claimed then claim_token end,
           case when is_claimed then this_time + make_interval(secs => claim_seconds) end
      from decided where turn_id is not null
    on conflict on constraint a_session_has_one_turn_at_a_time do nothing;
    return seqs;
end $$;
