// Headers between a caller and a stranger's code: which reach the function, and which of its answer
// reach the browser.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { confined, forwardedHeaders, replyHeaders } from '../../broker/invocation/reply.ts';
import { describeBothWays } from './both-ways.ts';
import { type SmallHouse, startSmallHouse } from './small-house.ts';

/** What a browser keeps for an origin. */
const KEPT = {
  'accept-ch': 'Sec-CH-UA-Model',
  'alt-svc': 'h2="evil.example:443"; ma=86400',
  'clear-site-data': '"*"',
  'critical-ch': 'Sec-CH-UA-Model',
  nel: '{"report_to":"a","max_age":86400}',
  'origin-agent-cluster': '?1',
  'report-to': '{"group":"a","max_age":86400,"endpoints":[{"url":"https://evil.example/"}]}',
  'reporting-endpoints': 'a="https://evil.example/"',
  'service-worker-allowed': '/',
  'set-cookie': 'a=1',
  'set-login': 'logged-out',
  'strict-transport-security': 'max-age=86400; includeSubDomains',
};
const MIRROR = `export default async (request) => Response.json(Object.fromEntries(request.headers), {
  headers: ${JSON.stringify({ ...KEPT, 'idempotent-replayed': 'true', 'x-own': 'a' })},
});`;
const APART = 'functions.example';

describeBothWays('headers between caller and function', function (fastPath) {
  this.timeout(120_000);
  let house: SmallHouse;
  let mirror: string;
  before(async () => {
    house = await startSmallHouse({ fastPath, functionsOrigin: `https://${APART}` });
    const published = await house.publish('mirror', MIRROR, { payer: 'publisher' });
    mirror = `/functions/${published}`;
    await house.sponsor(published);
  });
  after(() => house.close());

  const send = async (...lines: readonly string[]) => {
    const socket = connect(Number(new URL(house.url()).port), '127.0.0.1');
    socket.write([`GET ${mirror} HTTP/1.1`, ...lines, 'Connection: close', '', ''].join('\r\n'));
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    await once(socket, 'close');
    const [head = '', body = ''] = text.split('\r\n\r\n', 2);
    const names = head.split('\r\n').map((line) => line.split(':', 1)[0]?.toLowerCase() ?? '');
    return { names: new Set(names), body: JSON.parse(body) };
  };

  it('store nothing in the browser for the gateway’s own origin', async () => {
    const { names } = await send('Host: x');

    assert.ok(names.has('x-own'));
    for (const name of Object.keys(KEPT)) assert.ok(!names.has(name), name);
  });

  it('are the function’s own on the origin that is for functions', async () => {
    const { names } = await send(`Host: ${APART}`);

    for (const name of Object.keys(KEPT)) assert.ok(names.has(name), name);
  });

  it('mark a reply as repeated only by the gateway’s own knowledge', async () => {
    assert.ok(!(await send('Host: x')).names.has('idempotent-replayed'));
    assert.ok(!(await send(`Host: ${APART}`)).names.has('idempotent-replayed'));
  });

  it('reach the function without the headers that any Connection line names', async () => {
    const { body } = await send(
      'Host: x',
      'Connection: X-First',
      'X-First: 1',
      'Connection: x-second , X-Third',
      'X-Second: 2',
      'X-Third: 3',
      'X-Own: 4',
    );

    assert.deepEqual(
      ['x-first', 'x-second', 'x-third', 'x-own'].map((name) => body[name]),
      [undefined, undefined, undefined, '4'],
    );
  });

  it('are filtered by name alone, whatever their value', () => {
    const kept = Object.entries(KEPT);

    assert.deepEqual(replyHeaders([['Idempotent-Replayed', 'false']]), []);
    assert.deepEqual(
      confined(replyHeaders(kept)).map(([name]) => name),
      ['content-security-policy', 'x-content-type-options'],
    );
    const twice = [
      ['connection', 'close'],
      ['connection', 'a'],
      ['a', '1'],
    ] as const;
    assert.deepEqual(forwardedHeaders(twice), []);
  });
});
