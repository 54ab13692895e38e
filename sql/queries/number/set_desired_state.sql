-- Records that an attached number ($2) of a project ($1) is to be detached or released ($3), with
-- the generation $4. The caller reconciles the number at once; workers do it later if the caller
-- did not finish.
update number set desired_state = $3, generation = $4, check_at = now() + interval '2 minutes' where project_id = $1 and id = $2 and check_at is not null
