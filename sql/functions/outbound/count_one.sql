-- Counts one message. If it would exceed a limit, returns the limit by the name of its setting, its
-- value, and the end of its window; otherwise all null.
create or replace function count_one_outbound(
    of_project uuid, to_contact text, out full_limit text, out most integer, out until_at timestamptz
) language plpgsql
set search_path = textback, pg_temp as $$
declare
    names   text[] := '{outbound_per_project_per_minute, outbound_per_project_per_day,
                        outbound_per_contact_per_hour, outbound_per_contact_per_day}';
    limits  integer[];
    began   timestamptz[];
    lasts   interval[] := '{1 minute, 24 hours, 1 hour, 24 hours}';
    of_one  outbound_rate_window;
    of_all  outbound_rate_window;
    is_full integer;
begin
    loop
        if count_outbound(of_project, array[to_contact], '{1}') <> '{}' then
            return;
        end if;
        select array[outbound_per_project_per_minute, outbound_per_project_per_day, outbound_per_contact_per_hour, outbound_per_contact_per_day]
          into limits from project where id = of_project;
        select * into of_one from outbound_rate_window where project_id = of_project and contact = to_contact;
        select * into of_all from outbound_rate_window where project_id = of_project and contact = '';
        began := array[of_all.short_began, of_all.day_began, of_one.short_began, of_one.day_began];
        is_full := full_rate_window(limits, began, array[of_all.short_sent, of_all.day_sent, of_one.short_sent, of_one.day_sent], lasts, 1, now());
        -- No window is full if somebody raised the limit since the count. Then it is counted again.
        exit when is_full is not null;
    end loop;
    full_limit := names[is_full];
    most := limits[is_full];
    until_at := greatest(began[is_full] + lasts[is_full], now() + interval '1 second');
end $$;
