-- Records the last error of an agent ($1) of a project ($2): its code ($3), its words ($4), the
-- session ($5) and the version ($6). A lost worker always counts. Another error within a second of
-- the last one does not: many turns of an agent may fail at the same time, and each would wait for
-- the row.
insert into agent_error as known (agent_id, project_id, at, code, message, session_id, version, workers_lost, worker_lost_at)
values ($1, $2, now(), $3::text, $4, $5, $6, ($3 = 'worker_lost')::integer, case when $3 = 'worker_lost' then now() end)
on conflict on constraint agent_error_pk do update
   set at = excluded.at, code = excluded.code, message = excluded.message, session_id = excluded.session_id,
       version = excluded.version, workers_lost = known.workers_lost + excluded.workers_lost,
       worker_lost_at = coalesce(excluded.worker_lost_at, known.worker_lost_at)
 where excluded.workers_lost > 0 or known.at < now() - interval '1 second'
