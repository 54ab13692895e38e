-- Changes what is named of an attached number ($2) of a project ($1): its agent ($3), the
-- environment of the agent ($4), and whether its webhooks are repaired ($5).
with changed as (
    update number set repair_drift = coalesce($5, repair_drift) where project_id = $1 and id = $2 and check_at is not null returning id
)
update endpoint set agent_id = coalesce($3, agent_id), environment = coalesce($4::text, environment) from changed where endpoint.id = changed.id
