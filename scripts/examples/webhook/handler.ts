// Takes a webhook whose sender signs the body with a shared secret, as GitHub does:
// `X-Hub-Signature-256: sha256=<HMAC-SHA256 of the body, hex>`. What is not signed is refused.
import { createHmac, timingSafeEqual } from 'node:crypto';

const HEADER = 'x-hub-signature-256';

export default (async (request, context) => {
  if (request.method !== 'POST') return new Response('POST an event\n', { status: 405 });
  // The signature is over the bytes as they came: parse them only after it is checked.
  const body = Buffer.from(await request.arrayBuffer());
  if (!isSigned(body, request.headers.get(HEADER) ?? '')) {
    return new Response(`${HEADER} does not fit the body\n`, { status: 401 });
  }
  let event: { readonly action?: unknown };
  try {
    event = JSON.parse(body.toString());
  } catch {
    return new Response('the body is not JSON\n', { status: 400 });
  }
  // Senders repeat what was not answered in time: do your work so that a second time does no harm.
  context.log('event', request.headers.get('x-github-event'), event.action);
  return new Response(null, { status: 204 });
}) satisfies Defaas.Handler;

function isSigned(body: Uint8Array, signature: string): boolean {
  const secret = process.env.WEBHOOK_SECRET;
  if (!secret)
    throw new Error('WEBHOOK_SECRET is not set: defaas secret set webhook WEBHOOK_SECRET');
  const expected = Buffer.from(`sha256=${createHmac('sha256', secret).update(body).digest('hex')}`);
  const given = Buffer.from(signature);
  return given.length === expected.length && timingSafeEqual(given, expected);
}
