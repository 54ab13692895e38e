// pg-boss behind a webhook: `node index.mjs migrate | serve | work`.
import pg from 'pg'
import PgBoss from 'pg-boss'
import { Pool as HttpPool } from 'undici'
import { answering } from '../common/answer.mjs'
import { carrier } from '../common/carrier.mjs'
import { account, connect, database, sql, web } from '../common/settings.mjs'
import { serve } from '../common/web.mjs'

const QUEUE = 'answer'
// Whether workers only poll, and are not told of jobs.
const POLLS = process.env.POLLS === 'yes'
// Chosen by trial: see the README. Each worker takes a batch, handles it, and takes the next.
const WORKERS = POLLS ? 25 : 8
const BATCH = 64

/** pg-boss on our own pool. */
async function start(pool, options) {
  const boss = new PgBoss({ db: { executeSql: (text, values) => pool.query(text, values) }, schedule: false, ...options })
  boss.on('error', console.error)
  await boss.start()
  return boss
}

/** Announces new jobs, after they are committed. One announcement at a time is enough: a worker takes whatever there is. */
function announcing(pool) {
  let announced = false
  let again = false
  return async function announce() {
    if (announced) {
      again = true
      return
    }
    announced = true
    do {
      again = false
      await pool.query({ name: 'announce', text: `select pg_notify('${QUEUE}', '')` }).catch(console.error)
    } while (again)
    announced = false
  }
}

/** Wakes one worker after another as jobs are announced. */
async function listen(boss, workers) {
  const client = new pg.Client(database)
  // Without its ears a worker polls only; a new process hears again.
  client.on('error', (error) => { throw error })
  await client.connect()
  let next = 0
  client.on('notification', () => boss.notifyWorker(workers[next++ % workers.length]))
  await client.query(`listen ${QUEUE}`)
}

const commands = {
  async migrate() {
    const pool = connect(pg, 2)
    const boss = await start(pool, { supervise: false })
    await boss.createQueue(QUEUE)
    await pool.query(sql('tables.sql'))
    await boss.stop()
    await pool.end()
  },

  async serve() {
    const pool = connect(pg, 16)
    const announce = announcing(pool)
    // Message, session and job in one statement, which is one transaction: pg-boss lets jobs be
    // inserted in SQL.
    const text = `${sql('intake.sql')}
      insert into pgboss.job (name, data) select '${QUEUE}', jsonb_build_object('message', m.id) from m`
    serve(web(), {
      async intake({ sid, number, contact, text: body }) {
        const { rowCount } = await pool.query({ name: 'intake', text, values: [sid, number, contact, body] })
        if (rowCount > 0 && !POLLS) announce()
      },
      ready: () => pool.query('select 1'),
    })
  },

  async work() {
    const pool = connect(pg, 20)
    const boss = await start(pool, { migrate: false })
    const answer = answering(pool, carrier(HttpPool, account(), 64))
    // 0.5 s is the shortest interval that pg-boss takes.
    const options = { batchSize: BATCH, pollingIntervalSeconds: 0.5, priority: false }
    const workers = []
    for (let worker = 0; worker < WORKERS; worker++) {
      workers.push(
        await boss.work(QUEUE, options, async (jobs) => {
          const ends = await Promise.allSettled(jobs.map((job) => answer(job.data.message)))
          // The whole batch comes again then; what was marked sent is not sent again.
          const failed = ends.find((end) => end.status === 'rejected')
          if (failed) throw failed.reason
        }),
      )
      // Their polls are spread over the interval.
      await new Promise((resolve) => setTimeout(resolve, 500 / WORKERS))
    }
    if (!POLLS) await listen(boss, workers)
  },
}

await commands[process.argv[2]]()
