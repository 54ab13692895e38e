-- The steps of deliveries, from the history that each delivery keeps.
create or replace view reporting.delivery_steps_v1 with (security_barrier) as
select delivery.project_id, delivery.id as delivery_id, delivery.session_id, step.position as step,
       step.value ->> 'status' as status, step.value ->> 'by' as told_by, (step.value ->> 'code')::integer as error_code,
       step.value ->> 'class' as error_class, (step.value ->> 'at')::timestamptz as at,
       extract(epoch from (step.value ->> 'at')::timestamptz - delivery.created_at)::double precision as seconds_since_created,
       delivery.created_at
  from delivery
 cross join lateral jsonb_array_elements(delivery.history) with ordinality as step (value, position)
 where delivery.project_id in (select project_id from reporting.projects_v1);

comment on view reporting.delivery_steps_v1 is 'One row for each step of each delivery. Filter on created_at to read few rows. Of a delivery with over 64 steps some in the middle are left out.';
comment on column reporting.delivery_steps_v1.project_id is 'Id of the project of the delivery.';
comment on column reporting.delivery_steps_v1.delivery_id is 'Id of the delivery, which is the id of its message.';
comment on column reporting.delivery_steps_v1.session_id is 'Id of the session of the message.';
comment on column reporting.delivery_steps_v1.step is 'Number of the step in its delivery, from 1.';
comment on column reporting.delivery_steps_v1.status is 'Status of the delivery after the step: see deliveries_v1.status.';
comment on column reporting.delivery_steps_v1.told_by is 'Who told it: carrier (its answer), report (its status callback) or list (its list of messages). Null: textback itself.';
comment on column reporting.delivery_steps_v1.error_code is 'Error code of the carrier. Null: none.';
comment on column reporting.delivery_steps_v1.error_class is 'What the error means, by textback. Null: none.';
comment on column reporting.delivery_steps_v1.at is 'Time of the step.';
comment on column reporting.delivery_steps_v1.seconds_since_created is 'Seconds from created_at to the step.';
comment on column reporting.delivery_steps_v1.created_at is 'Time at which the message of the delivery was stored.';
