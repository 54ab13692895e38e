-- Changes what is named of an attached number ($2) of a project ($1): its agent ($3), and whether
-- its webhooks are repaired ($4).
with changed as (
    update number set repair_drift = coalesce($4, repair_drift) where project_id = $1 and id = $2 and check_at is not null returning id
)
update endpoint set agent_id = coalesce($3, agent_id) from changed where endpoint.id = changed.id
