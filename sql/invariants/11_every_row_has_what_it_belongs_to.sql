-- Every row has the rows that it refers to, such as a delivery its message and a message its
-- session. Triggers and foreign keys ensure this while textback writes. A replica or a partly
-- restored backup was written without them.
create or replace view invariant_11_every_row_has_what_it_belongs_to as
select 'delivery without its message' as what, id::text from delivery
 where not exists (select from message where message.id = delivery.id)
union all
select 'message without its session', id::text from message
 where not exists (select from session where session.id = message.session_id)
union all
-- Handled messages stay in their session. Only waiting messages are moved to the next session.
select 'session without its messages', id::text from session
 where handled_seq > 0 and not exists (select from message where message.session_id = session.id)
union all
select 'session without its endpoint', id::text from session
 where not exists (select from endpoint where endpoint.id = session.endpoint_id)
union all
select 'session without its agent version', id::text from session
 where not exists (select from agent_version version where version.agent_id = session.agent_id and version.version = session.agent_version)
union all
select 'attachment without its message', id::text from attachment
 where not exists (select from message where message.id = attachment.message_id)
union all
select 'turn without its session', id::text from turn
 where not exists (select from session where session.id = turn.session_id)
union all
select 'record of a turn without its session', id::text from turn_without_message
 where not exists (select from session where session.id = turn_without_message.session_id)
union all
select 'inactivity job without its session', session_id::text from inactivity
 where not exists (select from session where session.id = inactivity.session_id)
union all
select 'consent without its endpoint', id::text from consent
 where not exists (select from endpoint where endpoint.id = consent.endpoint_id)
union all
select 'consent without its message', id::text from consent
 where message_id is not null and not exists (select from message where message.id = consent.message_id)
union all
select 'scheduled message without its number', id::text from scheduled_message
 where not exists (select from number where number.id = scheduled_message.number_id)
union all
select 'delivery without its number', id::text from delivery
 where not exists (select from number where number.id = delivery.number_id)
union all
select 'number without its endpoint', id::text from number
 where not exists (select from endpoint where endpoint.id = number.id)
union all
select 'endpoint without its agent', id::text from endpoint
 where not exists (select from agent where agent.id = endpoint.agent_id)
union all
select 'agent without its active version', agent.id || ' ' || environment
  from agent cross join unnest('{sandbox,live}'::text[]) environment
 where not exists (
       select from active_version active join agent_version version on version.agent_id = active.agent_id and version.version = active.version
        where active.agent_id = agent.id and active.environment = environment)
union all
select 'carrier account without its project', project_id::text from carrier_account
 where not exists (select from project where project.id = carrier_account.project_id)
