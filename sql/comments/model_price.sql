comment on table model_price is 'What a project pays for the tokens of a model, in millionths of a currency of its choice.';
comment on column model_price.project_id is 'Id of the project that pays.';
comment on column model_price.model is 'Name of the model at its provider, as agents have it.';
comment on column model_price.input is 'Price of a million tokens of requests, in millionths of the currency.';
comment on column model_price.cached_input is 'Price of a million tokens of requests that the provider had cached; null: the same as the others.';
comment on column model_price.output is 'Price of a million tokens of answers, thoughts among them.';
