comment on table model_round is 'A round of a turn: a message of the model that calls tools, written before the first of them runs.';
comment on column model_round.turn_id is 'Id of the turn, which is that of its first message.';
comment on column model_round.round is 'Number of the round in its turn, from 0.';
comment on column model_round.project_id is 'Id of the project of the session.';
comment on column model_round.session_id is 'Id of the session of the turn.';
comment on column model_round.message is 'The message as it is sent back to the model: an object with role and tool_calls.';
comment on column model_round.created_at is 'Time at which the message was stored.';
