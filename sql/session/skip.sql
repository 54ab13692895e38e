-- Moves the clock of one session ($2) of a project ($1) that is not closed by $3 seconds: everything in it happened so
-- much earlier. For people and stories who can't wait; no clock of any machine is touched.
with moved as (
    update session
       set opened_at = opened_at - make_interval(secs => $3), started_at = started_at - make_interval(secs => $3),
           last_message_at = last_message_at - make_interval(secs => $3), warned_at = warned_at - make_interval(secs => $3)
     where project_id = $1 and id = $2 and status <> 'closed'
    returning id
), messages as (
    update message set created_at = created_at - make_interval(secs => $3) from moved where message.session_id = moved.id
), deliveries as (
    update delivery
       set created_at = created_at - make_interval(secs => $3), accepted_at = accepted_at - make_interval(secs => $3),
           attempted_at = attempted_at - make_interval(secs => $3), updated_at = updated_at - make_interval(secs => $3)
      from moved where delivery.session_id = moved.id
), jobs as (
    update silence set due_at = due_at - make_interval(secs => $3) from moved where silence.session_id = moved.id
)
select count(*) > 0 from moved
