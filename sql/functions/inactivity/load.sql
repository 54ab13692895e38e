-- Locks sessions whose inactivity job is due (lock_due_inactivity), and returns what decides about
-- them: domain/inactivity.rs. The settings are those of the current version of a session's agent.
create or replace function load_inactive_sessions(most integer, only_these uuid[])
returns table (
    session_id uuid, project_id uuid, endpoint_id uuid, contact text, "now" timestamptz, channel text, status text,
    last_message_at timestamptz, warn_after_seconds integer, grace_seconds integer, warning_body text, closing_body text,
    owes_answer boolean, quiet_hours jsonb, warning_status text, warning_accepted_at timestamptz, send_policy text,
    has_limits boolean, smart_encoding boolean
) language plpgsql
-- One plan a connection. Plans for given values would be made five times before, and are no better.
set plan_cache_mode = force_generic_plan
set search_path = textback, pg_temp as $$
declare
    -- By a statement of its own: the snapshot of a statement is older than a lock that the
    -- statement takes.
    due uuid[] := lock_due_inactivity(most, only_these);
begin
    return query
    select session.id, session.project_id, session.endpoint_id, session.contact, now(), session.channel::text, session.status::text,
           session.last_message_at, session.warn_after_seconds, version.grace_seconds, version.warning, version.closing,
           turn.id is not null or unsent.seq is not null,
           case when project.quiet_from is not null
                then jsonb_build_object('from', project.quiet_from, 'until', project.quiet_until) end,
           warning.status::text, warning.accepted_at, lock_send_policy(session.endpoint_id), project.has_outbound_limits,
           version.smart_encoding
      from unnest(due) as locked (id)
     cross join lateral (select * from session where session.id = locked.id limit 1) session
     cross join lateral (select * from project where project.id = session.project_id limit 1) project
     -- By "limit 1" each row is looked up by its key.
     cross join lateral (
           select * from active_version a where a.agent_id = session.agent_id and a.environment = session.environment limit 1) active
     cross join lateral (
           select * from agent_version v where v.agent_id = active.agent_id and v.version = active.version limit 1) version
      left join lateral (select turn.id from turn where turn.session_id = session.id limit 1) turn on true
      left join lateral (
           select delivery.seq from delivery
            where delivery.number_id = session.endpoint_id and delivery.contact = session.contact and delivery.due_at is not null
            limit 1) unsent on true
      left join lateral (
           select message.id from message
            where session.status = 'warned' and message.session_id = session.id and message.kind = 'warning'
            order by message.seq desc
            limit 1) warned on true
      left join lateral (
           select delivery.status, delivery.accepted_at from delivery where delivery.id = warned.id limit 1) warning on true;
end $$;
