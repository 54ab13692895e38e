comment on table model_use_of_day is 'What requests to models used on a day, with the most that requests without an answer may use.';
comment on column model_use_of_day.project_id is 'Id of the project.';
comment on column model_use_of_day.day is 'Day of UTC at which the requests began, by the clock of the database.';
comment on column model_use_of_day.tokens is 'Count of tokens of requests and answers.';
comment on column model_use_of_day.cost is 'Cost of them in millionths of the currency of model_price, without models that have no price.';
comment on column model_use_of_day.refused is 'Count of requests that were not made, because the project had reached its limit of the day.';
