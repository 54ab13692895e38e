-- Whether a message resets the inactivity of its session. Keywords, the messages of timers, and
-- inbound messages that were held or dropped do not.
create or replace function resets_inactivity(kind text, skip_reason text) returns boolean language plpgsql immutable parallel safe
set search_path = textback, pg_temp as $$
begin
    return kind not in ('keyword', 'help', 'opt_out', 'opt_in', 'warning', 'closing')
       and coalesce(skip_reason, '') not in ('opted_out', 'contact_too_fast', 'repeats', 'paused', 'project_too_fast', 'to_is_from', 'from_own_number', 'reaction');
end $$;
