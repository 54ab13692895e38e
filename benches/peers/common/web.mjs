// The webhook, on node's own HTTP server; its connections stay open.
import { createHmac, timingSafeEqual } from 'node:crypto'
import http from 'node:http'

// Twilio's signature: HMAC-SHA1 over the address and the parameters, sorted by name.
function signed({ url, token }, form, signature) {
  let said = url
  for (const name of [...form.keys()].sort()) said += name + form.get(name)
  const expected = createHmac('sha1', token).update(said).digest()
  const given = Buffer.from(signature ?? '', 'base64')
  return given.length === expected.length && timingSafeEqual(given, expected)
}

async function body(request) {
  let text = ''
  request.setEncoding('utf8')
  for await (const part of request) text += part
  return text
}

/**
 * Serves. `intake({ sid, number, contact, text })` ends when the message and its job are committed, `ready()` when the
 * database answers.
 */
export function serve(settings, { intake, ready }) {
  const { pathname } = new URL(settings.url)

  async function answer(request) {
    if (request.method === 'GET' && request.url === '/readyz') {
      await ready()
      return [200, 'text/plain', 'ready']
    }
    if (request.method !== 'POST' || request.url.split('?')[0] !== pathname) return [404, 'text/plain', '']
    const form = new URLSearchParams(await body(request))
    if (!signed(settings, form, request.headers['x-twilio-signature'])) return [403, 'text/plain', '']
    await intake({
      sid: form.get('MessageSid'),
      number: form.get('To'),
      contact: form.get('From'),
      text: form.get('Body'),
    })
    return [200, 'text/xml', '<Response/>']
  }

  http
    .createServer({ keepAliveTimeout: 60_000, noDelay: true }, async (request, response) => {
      const [status, type, text] = await answer(request).catch((error) => {
        console.error(error)
        // The carrier is told to come again.
        return [500, 'text/plain', '']
      })
      response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(text) }).end(text)
    })
    .listen(settings.port, settings.host)
}
