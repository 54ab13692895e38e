-- Limits on outbound messages: per contact and per project in time windows, and by the contact's country. The same rule
-- holds for texts by the API, scheduled texts, answers, warnings, farewells and the answer to HELP.

-- How many messages were planned in the current windows. Written only where a limit is set. A window begins with its
-- first message, so a limit holds for any hour and not only for hours of the clock.
create table outbound_pace (
    project_id  uuid        not null constraint outbound_pace_belongs_to_a_project references project (id),
    -- Empty for the whole project.
    contact     text        not null,
    -- The shorter window: an hour for a contact, a minute for a project.
    short_began timestamptz not null,
    short_sent  integer     not null,
    -- 24 hours.
    day_began   timestamptz not null,
    day_sent    integer     not null,
    constraint outbound_pace_pk primary key (project_id, contact)
) with (fillfactor = 50);

-- The position of a window that has no room for `more` messages, or null if all have room. If several are full, the one
-- that ends last. A limit (most) of 0 is off. A window in which nothing was sent has no beginning.
create function full_window(
    most integer[], began timestamptz[], sent integer[], lasts interval[], more integer, at timestamptz
) returns integer language plpgsql stable
set search_path = textback, pg_temp as $$
declare
    found_at integer;
    ends_at  timestamptz;
begin
    for place in 1 .. cardinality(most) loop
        continue when most[place] = 0;
        if coalesce(at < began[place] + lasts[place], false) then
            continue when sent[place] + more <= most[place] or began[place] + lasts[place] <= ends_at;
            found_at := place;
            ends_at := began[place] + lasts[place];
        elsif more > most[place] and found_at is null then
            found_at := place;
            ends_at := at;
        end if;
    end loop;
    return found_at;
end $$;

-- Adds messages to the windows of contacts, or of the project (''), for each all of its messages or none. most, lasts:
-- the limits of the shorter window and of the day. A window that is over begins anew. Returns the contacts whose
-- messages were added; the others are at a limit. One statement finds, locks and writes the rows by key, in one order.
-- It waits for a row that another transaction has just written, and then reads the new row, whatever this statement's
-- snapshot shows. A row at a limit stays locked too.
create function add_to_pace(of_project uuid, contacts text[], mores integer[], most integer[], lasts interval[]) returns text[]
language plpgsql
set search_path = textback, pg_temp as $$
declare
    added     text[];
    this_time timestamptz := now();
begin
    with wanted as (
        select of_contact, sum(more)::integer as more from unnest(contacts, mores) as w (of_contact, more) group by of_contact
    ), written as (
        insert into outbound_pace as pace (project_id, contact, short_began, short_sent, day_began, day_sent)
        select of_project, of_contact, this_time, more, this_time, more
          from wanted
         -- More than a limit never fits, and must not begin a window.
         where (most[1] = 0 or more <= most[1]) and (most[2] = 0 or more <= most[2])
         order by of_contact
        on conflict on constraint outbound_pace_pk do update
           set short_began = case when this_time < pace.short_began + lasts[1] then pace.short_began else this_time end,
               short_sent  = case when this_time < pace.short_began + lasts[1] then pace.short_sent else 0 end + excluded.short_sent,
               day_began   = case when this_time < pace.day_began + lasts[2] then pace.day_began else this_time end,
               day_sent    = case when this_time < pace.day_began + lasts[2] then pace.day_sent else 0 end + excluded.day_sent
         where full_window(most, array[pace.short_began, pace.day_began], array[pace.short_sent, pace.day_sent], lasts,
                           excluded.short_sent, this_time) is null
        returning contact
    )
    select coalesce(array_agg(contact), '{}') into added from written;
    return added;
end $$;

-- Counts messages that are about to be planned: for each contact all or none, and for the project all or none. Returns
-- the contacts whose messages may be planned. Every caller locks the project's row before those of its contacts, until
-- the transaction ends. So two transactions can't exceed a limit together. The transactions of a project with a project
-- limit wait for each other.
create function count_outbound(of_project uuid, contacts text[], mores integer[]) returns text[] language plpgsql
set search_path = textback, pg_temp as $$
declare
    limits  record;
    in_all  integer;
    counted text[];
begin
    select array[outbound_per_contact_per_hour, outbound_per_contact_per_day] as of_one,
           array[outbound_per_project_per_minute, outbound_per_project_per_day] as of_all
      into limits from project where id = of_project;
    if limits.of_all <> '{0,0}' then
        select sum(more) into in_all from unnest(mores) more;
        if add_to_pace(of_project, '{""}', array[in_all], limits.of_all, '{1 minute, 24 hours}') = '{}' then
            return '{}';
        end if;
    end if;
    if limits.of_one = '{0,0}' then
        return contacts;
    end if;
    counted := add_to_pace(of_project, contacts, mores, limits.of_one, '{1 hour, 24 hours}');
    if limits.of_all <> '{0,0}' and not contacts <@ counted then
        select sum(more) into in_all from unnest(contacts, mores) as w (of_contact, more) where of_contact <> all (counted);
        perform uncount_outbound(of_project, null, in_all, now());
    end if;
    return counted;
end $$;

-- Counts one message. If it would exceed a limit, returns the limit's code, an explanation and the end of its window;
-- otherwise all null.
create function count_one_outbound(of_project uuid, to_contact text, out code text, out detail text, out until_at timestamptz)
language plpgsql
set search_path = textback, pg_temp as $$
declare
    most    integer[];
    began   timestamptz[];
    lasts   interval[] := '{1 minute, 24 hours, 1 hour, 24 hours}';
    of_one  outbound_pace;
    of_all  outbound_pace;
    is_full integer;
begin
    loop
        if count_outbound(of_project, array[to_contact], '{1}') <> '{}' then
            return;
        end if;
        select array[outbound_per_project_per_minute, outbound_per_project_per_day, outbound_per_contact_per_hour, outbound_per_contact_per_day]
          into most from project where id = of_project;
        select * into of_one from outbound_pace where project_id = of_project and contact = to_contact;
        select * into of_all from outbound_pace where project_id = of_project and contact = '';
        began := array[of_all.short_began, of_all.day_began, of_one.short_began, of_one.day_began];
        is_full := full_window(most, began, array[of_all.short_sent, of_all.day_sent, of_one.short_sent, of_one.day_sent], lasts, 1, now());
        -- Nothing is full where somebody raised the limit since it was counted: then it is counted anew.
        exit when is_full is not null;
    end loop;
    code := case when is_full <= 2 then 'project_limit_reached' else 'contact_limit_reached' end;
    detail := format('%s: the project sends at most %s messages %s', code, most[is_full],
                     (array['in a minute', 'in 24 hours', 'to one contact in an hour', 'to one contact in 24 hours'])[is_full]);
    until_at := greatest(began[is_full] + lasts[is_full], now() + interval '1 second');
end $$;

-- Removes messages from the count that were planned at planned_at and cancelled before they were sent. With a null
-- to_contact, only from the project's count.
create function uncount_outbound(of_project uuid, to_contact text, fewer integer, planned_at timestamptz) returns void language plpgsql
set search_path = textback, pg_temp as $$
declare
    of_contact text;
begin
    -- In everybody's order.
    foreach of_contact in array array['', to_contact] loop
        update outbound_pace
           set short_sent = case when planned_at >= short_began then greatest(short_sent - fewer, 0) else short_sent end,
               day_sent = case when planned_at >= day_began then greatest(day_sent - fewer, 0) else day_sent end
         where project_id = of_project and outbound_pace.contact = of_contact;
    end loop;
end $$;

-- Whether a project may text a contact, given the countries that the contact's digits allow. A project's own list
-- decides. Without a list, the countries of its attached numbers are allowed, and any contact who wrote to the project
-- first.
create function country_is_allowed(of_project uuid, to_contact text, countries text[]) returns boolean language plpgsql stable
set search_path = textback, pg_temp as $$
declare
    allowed text[];
begin
    select allowed_countries into allowed from project where id = of_project;
    if allowed is not null then
        return allowed && countries;
    end if;
    -- A toll-free number of +1, or one of an area that nobody knows, serves both of the large countries there.
    select array_agg(of_number.country) into allowed
      from number
     cross join lateral unnest(case when number.number ~ '^\+18(00|33|44|55|66|77|88)' then '{US,CA}'
                                    when number.country is not null then array[number.country]
                                    when number.number like '+1%' then '{US,CA}' end) as of_number (country)
     where number.project_id = of_project and number.detached_at is null;
    -- Where the digits of no number tell its country, there is nothing to go by.
    return allowed is null or allowed && countries
        or exists (select from session where session.project_id = of_project and session.contact = to_contact and engaged);
end $$;
