-- Stores what was decided about turns, which the caller has locked (load_turns): their sessions,
-- their messages, and that they are done. silent: those without messages, as they are recorded. A
-- turn with messages makes its session open and active. Messages without a turn come by
-- store_messages.
create or replace function store_turns(turns settled_turn[], messages planned_message[], silent silent_turn[]) returns void language plpgsql
-- One plan a connection. Plans for given values would be made five times before, 10 ms each, and
-- are no better.
set plan_cache_mode = force_generic_plan
set search_path = textback, pg_temp as $$
declare
    -- A variable, because a distributed table refuses now() inside case and coalesce.
    this_time timestamptz := now();
    first_step jsonb := delivery_step('sending', null, null, null, null);
    -- Drawn before the inserts, so no join with the inserted rows is needed. The contacts' locks
    -- keep the order.
    seqs bigint[] := array(select nextval('message_seq_seq') from unnest(messages));
begin
    with updated as (
        update session
           set state = coalesce(t.state::session_state, session.state), language = t.language, handled_seq = t.handled_seq,
               started_at = case when t.started then coalesce(session.started_at, this_time) else session.started_at end,
               last_message_at = case when t.speaks then greatest(session.last_message_at, this_time) else session.last_message_at end,
               warn_after_seconds = case when t.speaks then t.warn_after_seconds else session.warn_after_seconds end,
               status = case when t.speaks then 'open' else session.status end,
               warned_at = case when t.speaks then null else session.warned_at end
          from unnest(turns) t
         -- By the ctid, because a join that was planned while there were few sessions would read
         -- all of them.
         cross join lateral (select ctid as row_ctid from session where session.id = t.session_id limit 1) locked
         where session.ctid = locked.row_ctid
    ), written as (
        insert into message (id, seq, project_id, session_id, direction, kind, body, encoding, segments, turn_id, truncated,
                             inactivity_seconds, turn_created_at, turn_attempts, turn_failures, turn_messages, turn_milliseconds,
                             turn_error_code)
               overriding system value
        select m.id, seqs[m.ordinality], m.project_id, m.session_id, 'outbound', m.kind, m.body, m.encoding, m.segments, m.turn_id, m.truncated,
               m.inactivity_seconds, m.turn_created_at, m.turn_attempts, m.turn_failures, m.turn_messages, m.turn_milliseconds,
               m.turn_error_code
          from unnest(messages) with ordinality as m
    ), delivered as (
        insert into delivery (id, project_id, session_id, number_id, contact, seq, status, due_at, lease_token, leased_until,
                              attempts, attempted_at, despite_opt_out, error_class, error_detail, history)
        select m.id, m.project_id, m.session_id, m.number_id, m.contact, seqs[m.ordinality], m.status,
               case when m.is_held then 'infinity' when m.status in ('planned', 'sending') then this_time end,
               m.lease_token, this_time + make_interval(secs => m.lease_seconds),
               (m.lease_token is not null)::integer, case when m.lease_token is not null then this_time end,
               m.despite_opt_out, m.error_class, m.error_detail,
               case when m.status = 'planned' then '[]' when m.status = 'sending' then first_step
                    else delivery_step(m.status, null, null, m.error_class, m.error_detail) end
          from unnest(messages) with ordinality as m
         where m.status is not null
    ), recorded as (
        insert into turn_without_message (id, project_id, session_id, milliseconds, attempts, failures, outcome, error_code, created_at)
        select t.id, t.project_id, t.session_id, t.milliseconds, t.attempts, t.failures, t.outcome, t.error_code, t.created_at
          from unnest(silent) t
    )
    -- By an array, because a join that was planned while few turns waited would read all of them.
    delete from turn where turn.session_id = any (array(select t.session_id from unnest(turns) t));
end $$;
