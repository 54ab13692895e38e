-- Locks turns that are to be settled, with their contacts and sessions, and returns what decides
-- about them (domain/turn_settlement.rs): one row for each that is still claimed under its token,
-- with its position from 1. newer_message_id: the first message that came in after those that the
-- turn knows of. A number that may not send is locked too, because its registration may be changing
-- right now. Most numbers are open and not locked.
create or replace function load_turns(
    turns uuid[], sessions uuid[], tokens uuid[], endpoints uuid[], contacts text[], seen_seqs bigint[]
) returns table (
    ordinal bigint, project_id uuid, handled_seq bigint, send_policy text, has_limits boolean,
    delivery_waits boolean, newer_message_id uuid, warn_after_seconds integer, current_warn_after_seconds integer, pool_id text
) language plpgsql
-- One plan a connection. Plans for given values would be made five times before, 10 ms each, and
-- are no better.
set plan_cache_mode = force_generic_plan
set search_path = textback, pg_temp as $$
begin
    -- Until the transaction ends. A batch waits at most 1 s for a lock; then the batcher writes its
    -- items one by one.
    perform set_config('lock_timeout', '1s', true);
    -- The same order as ingest.
    perform pg_advisory_xact_lock(contact_lock_key(of_turns.endpoint_id, of_turns.contact))
       from (select t.endpoint_id, t.contact from unnest(endpoints, contacts) as t (endpoint_id, contact)
              order by t.endpoint_id, t.contact) of_turns;
    return query
    select t.ordinal, session.project_id, session.handled_seq, coalesce(number.send_policy, 'open'),
           project.has_limits,
           -- Scalar subqueries, because "exists" may be planned as a join that reads all rows.
           (select waiting.seq from delivery waiting
             where waiting.number_id = t.endpoint_id and waiting.contact = t.contact and waiting.due_at is not null
             limit 1) is not null,
           (select newer.id from message newer
             where newer.session_id = t.session_id and newer.seq > t.seen_seq and newer.direction = 'inbound'
               and newer.skip_reason is null
             order by newer.seq limit 1),
           session.warn_after_seconds, version.warn_after_seconds, session.pool_id
      from unnest(turns, sessions, tokens, endpoints, contacts, seen_seqs) with ordinality
           as t (turn_id, session_id, token, endpoint_id, contact, seen_seq, ordinal)
     -- By "limit 1" each row is looked up by its key. A join that was planned while there were few
     -- sessions would read all of them for each batch later.
     cross join lateral (
           select session.project_id, session.agent_id, session.environment, session.handled_seq, session.warn_after_seconds, session.pool_id from session
            where session.id = t.session_id
            limit 1 for update) session
     cross join lateral (
           select turn.id from turn
            where turn.session_id = t.session_id and turn.id = t.turn_id and turn.lease_token = t.token
            limit 1 for update) turn
     cross join lateral (
           select active_version.version from active_version
            where active_version.agent_id = session.agent_id and active_version.environment = session.environment limit 1) active
     cross join lateral (
           select agent_version.warn_after_seconds from agent_version
            where agent_version.agent_id = session.agent_id and agent_version.version = active.version
            limit 1) version
     cross join lateral (
           select project.has_outbound_limits as has_limits from project where project.id = session.project_id
            limit 1) project
      left join lateral (
           select number.send_policy from number
            where number.id = t.endpoint_id and number.send_policy <> 'open'
            limit 1 for share) number on true;
end $$;
