// The carrier's API for messages, over connections that stay open.

/** Posts a message and gives what the carrier calls it. `Pool` is undici's. */
export const carrier = (Pool, { url, sid, token }, connections) => {
  const pool = new Pool(url, { connections, pipelining: 1, keepAliveTimeout: 60_000 })
  const path = `/2010-04-01/Accounts/${sid}/Messages.json`
  const headers = {
    authorization: `Basic ${Buffer.from(`${sid}:${token}`).toString('base64')}`,
    'content-type': 'application/x-www-form-urlencoded',
  }
  return async ({ to, from, body }) => {
    const form = new URLSearchParams({ To: to, From: from, Body: body }).toString()
    const answer = await pool.request({ method: 'POST', path, headers, body: form })
    const said = await answer.body.json()
    if (answer.statusCode >= 300) throw new Error(`the carrier answered ${answer.statusCode}: ${JSON.stringify(said)}`)
    return said.sid
  }
}
