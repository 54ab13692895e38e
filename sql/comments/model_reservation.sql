comment on table model_reservation is 'A request to a model that is not answered yet, with what was counted for it.';
comment on column model_reservation.id is 'Id of the reservation.';
comment on column model_reservation.project_id is 'Id of the project of the session.';
comment on column model_reservation.session_id is 'Id of the session of the turn.';
comment on column model_reservation.day is 'Day of UTC for which it was counted.';
comment on column model_reservation.tokens is 'Count of tokens that it may use at most, as estimated.';
comment on column model_reservation.cost is 'Cost of them in millionths of the currency of model_price.';
comment on column model_reservation.reserved_at is 'Time at which it was counted.';
