-- Fills a database that textback migrated with :messages messages of 90 days: sessions of eight,
-- half of them inbound, in the order of time, of two projects with twenty numbers and four agents.
-- One delivery in fifty fails, one session in ten timed out after a warning.
set search_path = textback;
set session_replication_role = replica;
set synchronous_commit = off;
set statement_timeout = 0;

insert into project (id, name, webhook_key)
select ('00000000-0000-7000-8000-00000000000' || n)::uuid, 'bench ' || n, 'bench-' || n from generate_series(1, 2) n;

insert into agent (id, project_id, name)
select ('00000000-0000-7000-8001-00000000000' || n)::uuid, ('00000000-0000-7000-8000-00000000000' || 1 + n % 2)::uuid, 'agent ' || n
  from generate_series(0, 3) n;
insert into agent_version (agent_id, version, spec, warning, reads_history)
select id, 1, '{"kind": "script", "source": "x"}', 'Still there?', false from agent where name like 'agent _';
insert into active_version (agent_id, environment, version)
select id, unnest('{sandbox,live}'::text[]), 1 from agent where name like 'agent _';

insert into endpoint (id, project_id, kind, agent_id)
select ('00000000-0000-7000-8002-0000000000' || lpad(n::text, 2, '0'))::uuid, ('00000000-0000-7000-8000-00000000000' || 1 + n % 2)::uuid,
       'number', ('00000000-0000-7000-8001-00000000000' || n % 4)::uuid
  from generate_series(0, 19) n;
insert into number (id, project_id, number, country, generation)
select id, project_id, '+141555501' || right(id::text, 2), 'US', gen_random_uuid() from endpoint where id::text like '00000000-0000-7000-8002-%';

select :messages / 8 as sessions \gset

insert into session (id, project_id, endpoint_id, contact, channel, status, origin, engaged, agent_id, agent_version, warn_after_seconds,
                     opened_at, last_message_at, closed_at, close_reason, handled_seq)
select (lpad(to_hex(n), 12, '0') || '70008003000000000000')::uuid, ('00000000-0000-7000-8000-00000000000' || 1 + n % 2)::uuid,
       ('00000000-0000-7000-8002-0000000000' || lpad((n % 20)::text, 2, '0'))::uuid,
       case n % 20 when 7 then '+4477009' when 11 then '+49151' else '+1415' end || lpad((n % 300000)::text, 7, '0'), 'sms', 'closed',
       case when n % 8 = 0 then 'outbound' else 'inbound' end, n % 16 <> 0, ('00000000-0000-7000-8001-00000000000' || n % 4)::uuid, 1, 86400,
       opened_at, opened_at + interval '5 minutes', least(now(), opened_at + case when n % 10 = 0 then interval '1 day' else interval '10 minutes' end),
       case when n % 10 = 0 then 'timed_out' else 'agent_ended' end, n * 8 + 7
  from generate_series(1, :sessions) n
 cross join lateral (select now() - interval '90 days' + n * (interval '90 days' / :sessions) as opened_at) opened;

insert into message (id, seq, project_id, session_id, direction, kind, body, encoding, segments, carrier_id, turn_id, created_at, skip_reason,
                     turn_created_at, turn_attempts, turn_failures, turn_messages, turn_milliseconds, inactivity_seconds)
       overriding system value
select (lpad(to_hex(n * 8 + k), 12, '0') || '70008004000000000000')::uuid, n * 8 + k, ('00000000-0000-7000-8000-00000000000' || 1 + n % 2)::uuid,
       (lpad(to_hex(n), 12, '0') || '70008003000000000000')::uuid, case k % 2 when 0 then 'inbound' else 'outbound' end,
       case when k % 2 = 0 then 'text' when k = 7 and n % 10 = 0 then 'warning' when k = 1 and n % 3 = 0 then 'greeting' else 'reply' end,
       'What a text says, more or less.', 'gsm7', 1 + (n % 9 = 0)::integer, case when k % 2 = 0 then 'SM' || n * 8 + k end,
       case when k % 2 = 1 then (lpad(to_hex(n * 8 + k - 1), 12, '0') || '70008004000000000000')::uuid end, at.at,
       case when k = 4 and n % 100 = 0 then 'repeats' end, case when k % 2 = 1 then at.at - interval '1 second' * (0.01 + n % 97 * 0.02) end,
       case when k % 2 = 1 then 1 end, case when k % 2 = 1 then 0 end, case when k % 2 = 1 then 1 end,
       case when k % 2 = 1 then n % 97 * 20 end, case when k = 7 and n % 10 = 0 then 86400 end
  from generate_series(1, :sessions) n
 cross join generate_series(0, 7) k
 cross join lateral (select now() - interval '90 days' + n * (interval '90 days' / :sessions) + k * interval '40 seconds' as at) at;

insert into delivery (id, project_id, session_id, number_id, contact, seq, status, carrier_id, attempts, error_code, error_class, history,
                      created_at, accepted_at, updated_at)
select message.id, message.project_id, session_id, session.endpoint_id, session.contact, seq,
       case when seq % 50 = 1 then 'failed' else 'delivered' end, 'SX' || seq, 1, case when seq % 50 = 1 then 30003 + seq % 3 end,
       case when seq % 50 = 1 then 'unreachable' end, '[]', message.created_at, message.created_at + interval '0.15 seconds',
       message.created_at + interval '1 second' * (1 + seq % 41)
  from message join session on session.id = message.session_id
 where message.direction = 'outbound'
 order by message.seq;

select setval('message_seq_seq', max(seq)) from message;
select brin_summarize_new_values(indexrelid) from pg_index join pg_class on pg_class.oid = indexrelid where relname like '%\_by\_time' and relam = (select oid from pg_am where amname = 'brin');
vacuum analyze;
