// What the environment says, and the pool of connections it leads to.
import { readFileSync } from 'node:fs'

const named = (name) => {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set`)
  return value
}

export const web = () => {
  const [, host, port] = named('LISTEN').match(/^(.*):(\d+)$/)
  return { host, port: Number(port), url: named('WEBHOOK_URL'), token: named('AUTH_TOKEN') }
}

export const account = () => ({ url: named('CARRIER_URL'), sid: named('ACCOUNT_SID'), token: named('AUTH_TOKEN') })

export const database = { connectionString: named('DATABASE_URL') }

/** A pool of at most so many connections; `pg` is the package. A connection that breaks is replaced by the pool. */
export const connect = (pg, max) => {
  const pool = new pg.Pool({ ...database, max })
  pool.on('error', console.error)
  pool.on('connect', (client) => client.on('error', console.error))
  return pool
}

/** The SQL of a file beside this one. */
export const sql = (name) => readFileSync(new URL(name, import.meta.url), 'utf8')
