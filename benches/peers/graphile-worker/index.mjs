// graphile-worker behind a webhook: `node index.mjs migrate | serve | work`.
import pg from 'pg'
import { Pool as HttpPool } from 'undici'
import { answering } from '../common/answer.mjs'
import { carrier } from '../common/carrier.mjs'
import { account, connect, sql, web } from '../common/settings.mjs'
import { serve } from '../common/web.mjs'

// Read when graphile-worker is loaded: no line on the terminal for every job.
process.env.NO_LOG_SUCCESS = '1'
const { run, runMigrations } = await import('graphile-worker')

// How many jobs run at a time, with the connections that graphile-worker advises for as many.
const JOBS = 32

const commands = {
  async migrate() {
    const pool = connect(pg, 2)
    await runMigrations({ pgPool: pool })
    await pool.query(sql('tables.sql'))
    await pool.end()
  },

  async serve() {
    const pool = connect(pg, 16)
    // Message, session and job in one statement, which is one transaction: graphile-worker is asked
    // in SQL.
    const text = `${sql('intake.sql')}
      select graphile_worker.add_job('answer', json_build_object('message', m.id)) from m`
    serve(web(), {
      intake: ({ sid, number, contact, text: body }) =>
        pool.query({ name: 'intake', text, values: [sid, number, contact, body] }),
      ready: () => pool.query('select 1'),
    })
  },

  async work() {
    const pool = connect(pg, JOBS + 2)
    const answer = answering(pool, carrier(HttpPool, account(), JOBS))
    const runner = await run({
      pgPool: pool,
      parsedCronItems: [],
      taskList: { answer: ({ message }) => answer(message) },
      // Chosen by trial: see the README.
      preset: {
        worker: {
          concurrentJobs: JOBS,
          // Jobs are fetched together, and after a fetch that brought few, the next one waits for
          // more.
          localQueue: { size: JOBS + 1, refetchDelay: { durationMs: 10, threshold: JOBS / 2, maxAbortThreshold: JOBS } },
          // Jobs that are done are deleted together.
          completeJobBatchDelay: 10,
          // New jobs are announced (LISTEN); this bounds the wait when the delay above has missed
          // one.
          pollInterval: 100,
        },
      },
    })
    await runner.promise
  },
}

await commands[process.argv[2]]()
