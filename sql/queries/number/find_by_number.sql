-- An attached number of a project ($1) that is ours at the carrier, by its digits ($2), and whether
-- it may not send for want of its registration.
select id, number, country, send_policy = 'blocked' as "unregistered!"
  from number
 where project_id = $1 and number = $2 and check_at is not null and desired_state = 'attached' and carrier_id is not null
