-- A session is warned or closed for inactivity only if it was inactive. No message was committed in
-- the period before a warning, and none between the last warning of a session and its timeout.
create or replace view invariant_08_no_warning_after_a_reply as
select warning.id as message_id, warning.session_id, 'warned though somebody spoke' as what
  from message warning
 where warning.kind = 'warning'
   and exists (
       select from message spoken
        where spoken.session_id = warning.session_id and spoken.seq < warning.seq
          and resets_inactivity(spoken.kind, spoken.skip_reason)
          and spoken.created_at > warning.created_at - make_interval(secs => warning.inactivity_seconds))
union all
select spoken.id, session.id, 'ended though somebody spoke'
  from session
  join lateral (
      select seq from message where message.session_id = session.id and kind = 'warning' order by seq desc limit 1
  ) warning on true
  join message spoken on spoken.session_id = session.id and spoken.seq > warning.seq and resets_inactivity(spoken.kind, spoken.skip_reason)
 where session.close_reason = 'timed_out'
