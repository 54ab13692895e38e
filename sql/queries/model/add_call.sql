-- Keeps a call of a tool ($6, the $3rd of the round $2 of the turn $1) with its answer ($7) or its
-- error ($8). The first result counts.
insert into tool_call (turn_id, round, position, project_id, session_id, name, answer, error) values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict on constraint tool_call_pk do nothing
