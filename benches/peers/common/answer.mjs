// The job: reads a text, runs the agent, notes its reply, sends it, and marks it sent. Every step
// is committed before the next.

const READ = `
  select message.body, session.number, session.contact, reply.body as drafted, reply.sent_at
    from message
    join session on session.id = message.session_id
    left join reply on reply.message_id = message.id
   where message.id = $1`
const DRAFT = 'insert into reply (message_id, body) values ($1, $2) on conflict (message_id) do nothing'
const SENT = 'update reply set provider_id = $2, sent_at = now() where message_id = $1'

/** The agent: an echo. */
const agent = async (text) => text.body

/** Gives the job of a message's id. `db` is a pool of pg, `send` posts to the carrier and gives its id of the reply. */
export const answering = (db, send) => {
  // With a name, a statement is prepared once a connection.
  const query = (name, text, values) => db.query({ name, text, values })
  return async (id) => {
    const { rows: [text] } = await query('read', READ, [id])
    // A job that comes again sends nothing that was marked sent.
    if (!text || text.sent_at) return
    let reply = text.drafted
    if (reply === null) {
      reply = await agent(text)
      await query('draft', DRAFT, [id, reply])
    }
    // A crash from here until the mark is committed sends the reply a second time.
    const sid = await send({ to: text.contact, from: text.number, body: reply })
    await query('sent', SENT, [id, sid])
  }
}
