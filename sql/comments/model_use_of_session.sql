comment on table model_use_of_session is 'What requests to models used in a session, with the most that one without an answer may use.';
comment on column model_use_of_session.session_id is 'Id of the session.';
comment on column model_use_of_session.project_id is 'Id of the project of the session.';
comment on column model_use_of_session.tokens is 'Count of tokens of requests and answers.';
comment on column model_use_of_session.cost is 'Cost of them in millionths of the currency of model_price, without models that have no price.';
comment on column model_use_of_session.refused is 'Count of requests that were not made, because the session had reached its limit.';
