-- Appends a step to the history of a delivery. A history has at most 64 steps: then the 17th is
-- dropped, so the beginning and the end of a long history are kept.
create or replace function append_step(history jsonb, step jsonb) returns jsonb language plpgsql immutable
set search_path = textback, pg_temp as $$
begin
    return case when jsonb_array_length(history) >= 64 then history - 16 else history end || step;
end $$;
