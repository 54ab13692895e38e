-- What the triggers of the rollups cost the writes of a text: the CPU time of one backend for the
-- statements of the message flow, with and without these triggers, in pairs. As a superuser, after
-- fill.sql.
set search_path = textback;
set statement_timeout = 0;
set synchronous_commit = off;
create function pg_temp.cpu() returns bigint language sql as $$
    select (split_part(stat, ' ', 14)::bigint + split_part(stat, ' ', 15)::bigint) * 10000 from pg_read_file('/proc/self/stat') stat
$$;
create procedure pg_temp.triggers(wanted text) language plpgsql as $$
declare
    found record;
begin
    for found in select tgname, tgrelid::regclass as of_table from pg_trigger
                  where tgname ~ '^late_(messages|deliveries|sessions|turns|changes_of_messages|changes_of_deliveries|changes_of_sessions)_are_counted$' loop
        execute format('alter table %s %s trigger %I', found.of_table, wanted, found.tgname);
    end loop;
end $$;
-- texts in batches of so many: the session, the message, the session again, the reply with its
-- delivery, its acceptance, its report.
create procedure pg_temp.write(texts integer, batch integer, out us_per_text numeric) language plpgsql as $$
declare
    began bigint := pg_temp.cpu();
    ids   uuid[];
    sids  uuid[] := array(select id from session order by id desc limit batch);
begin
    for n in 1 .. texts / batch loop
        update session set last_message_at = now(), engaged = engaged or true, status = 'closed', warned_at = null where id = any (sids);
        insert into message (id, project_id, session_id, direction, kind, body, carrier_id, encoding, segments)
        select gen_random_uuid(), project_id, id, 'inbound', 'text', 'hello', 'W' || gen_random_uuid(), 'gsm7', 1 from session where id = any (sids);
        update session set handled_seq = handled_seq + 1, last_message_at = now(), status = 'closed', warned_at = null where id = any (sids);
        ids := array(select gen_random_uuid() from generate_series(1, batch));
        insert into message (id, project_id, session_id, direction, kind, body, turn_id, encoding, segments, turn_created_at, turn_attempts)
        select ids[row_number() over ()], project_id, id, 'outbound', 'reply', 'hello', gen_random_uuid(), 'gsm7', 1, now(), 1 from session where id = any (sids);
        insert into delivery (id, project_id, session_id, number_id, contact, seq, status, due_at, lease_token, leased_until)
        select ids[row_number() over ()], project_id, id, endpoint_id, contact, 1, 'sending', now(), gen_random_uuid(), now() from session where id = any (sids);
        update delivery set status = 'accepted', carrier_id = 'W' || id, accepted_at = now(), due_at = null, lease_token = null, leased_until = null, updated_at = now() where id = any (ids);
        update delivery set status = 'delivered', updated_at = now() where id = any (ids);
        commit;
    end loop;
    us_per_text := (pg_temp.cpu() - began)::numeric / texts;
end $$;
create temp table measured (batch integer, with_triggers boolean, us numeric);
create procedure pg_temp.pairs(pairs integer, texts integer, batch integer) language plpgsql as $$
declare
    us numeric;
begin
    for pair in 1 .. pairs loop
        for turn in 0 .. 1 loop
            call pg_temp.triggers(case when (pair + turn) % 2 = 0 then 'enable' else 'disable' end);
            commit;
            call pg_temp.write(texts, batch, us);
            insert into measured values (batch, (pair + turn) % 2 = 0, us);
            commit;
        end loop;
    end loop;
end $$;
-- The first run fills caches.
call pg_temp.pairs(1, 2000, 50);
truncate measured;
call pg_temp.pairs(8, 10000, 50);
call pg_temp.pairs(8, 3000, 1);
call pg_temp.triggers('enable');
\echo CPU microseconds of PostgreSQL for a text, the medians of eight
select batch, percentile_cont(0.5) within group (order by us) filter (where not with_triggers) as without,
       percentile_cont(0.5) within group (order by us) filter (where with_triggers) as with_triggers,
       min(us) filter (where not with_triggers) as least_without, min(us) filter (where with_triggers) as least_with
  from measured group by batch order by batch desc;
