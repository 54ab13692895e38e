-- One step of a delivery, as an array of one element for its history.
create or replace function delivery_step(status text, by_whom text, code integer, class text, detail text) returns jsonb language plpgsql stable
set search_path = textback, pg_temp as $$
begin
    return jsonb_build_array(jsonb_strip_nulls(jsonb_build_object(
               'at', now(), 'status', status, 'by', by_whom, 'code', code, 'class', class, 'detail', detail)));
end $$;
