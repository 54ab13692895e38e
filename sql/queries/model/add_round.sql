-- Keeps the message ($5) of a round ($2) of a turn ($1). An earlier attempt whose answer came late
-- may have kept one; the first counts.
insert into model_round (turn_id, round, project_id, session_id, message) values ($1, $2, $3, $4, $5)
on conflict on constraint model_round_pk do nothing
