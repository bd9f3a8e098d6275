// What a function is told of its caller and of its URL, and where its redirects lead: by HTTP, from
// the gateway to a function and back.
import assert from 'node:assert/strict';
import { request as httpRequest } from 'node:http';
import { KEYS, type SmallHouse, startSmallHouse } from './small-house.ts';

const HANDLER = `export default (request, context) => {
  const { pathname, searchParams } = new URL(request.url);
  const to = searchParams.get('to');
  if (pathname === '/go') return Response.redirect(new URL(to, request.url));
  if (pathname === '/send' || pathname === '/')
    return new Response(null, { status: 303, headers: { location: to, 'content-location': to } });
  return Response.json({ request: request.url, context: context.url, headers: [...request.headers] });
};`;
const PUBLIC = 'https://gateway.example';
const OWNER = KEYS.publisher.address;

interface Seen {
  readonly request: string;
  readonly context: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
}

for (const fastPath of [true, false]) {
  describe(`the public URL of a function, ${fastPath ? 'by the fast path' : 'by Node'}`, function () {
    this.timeout(120_000);
    let house: SmallHouse;
    let fn: string;

    before(async () => {
      house = await startSmallHouse({ fastPath });
      fn = await house.publish('where', HANDLER, { payer: 'publisher' });
      await house.sponsor(fn);
    });
    after(() => house.close());

    const address = () => `${house.url()}/functions/${fn}`;
    const seenAt = async (path: string, headers: Record<string, string> = {}): Promise<Seen> => {
      const reply = await fetch(`${address()}${path}`, { headers });
      assert.equal(reply.status, 200, await reply.clone().text());
      return reply.json();
    };

    it('is seen by the function, which sees its own path at the root', async () => {
      const seen = await seenAt('/a%20b?q=%C3%A4');

      assert.equal(seen.request, `${house.url()}/a%20b?q=%C3%A4`);
      assert.equal(seen.context, `${address()}/a%20b?q=%C3%A4`);
    });

    it('comes with the client’s address and the prefix, whatever the client says of them', async () => {
      const { headers } = await seenAt('/seen', {
        forwarded: 'for=192.0.2.1;host=evil.example',
        'x-forwarded-for': '192.0.2.1',
        'x-forwarded-host': 'evil.example',
        'x-forwarded-prefix': '/evil',
        'x-forwarded-proto': 'https',
        'x-real-ip': '192.0.2.1',
      });

      const told = headers.filter(([name]) => /forwarded|real-ip/.test(name));
      const { host } = new URL(house.url());
      assert.deepEqual(told, [
        ['forwarded', `for="127.0.0.1";host="${host}";proto=http`],
        ['x-forwarded-prefix', `/functions/${fn}`],
      ]);
    });

    it('leads a redirect of the function to where the function is', async () => {
      for (const path of [
        `/go?to=${encodeURIComponent('/there?x=1#y')}`,
        `/send?to=${encodeURIComponent('/there?x=1#y')}`,
        // Relative to the function's root, which in the caller's URL has no slash at its end.
        `?to=${encodeURIComponent('there?x=1')}`,
        `/send?to=${encodeURIComponent(`${address()}/there?x=1`)}`,
        `@latest/send?to=${encodeURIComponent('../../there?x=1')}`,
      ]) {
        const reply = await fetch(`${address()}${path}`);

        assert.equal(reply.status, 200, path);
        const { request }: Seen = await reply.json();
        assert.equal(request, `${house.url()}/there?x=1`, path);
      }
    });

    it('is in Location and Content-Location, and leaves other origins alone', async () => {
      const reply = async (to: string) => {
        const { headers } = await fetch(`${address()}/send?to=${encodeURIComponent(to)}`, {
          redirect: 'manual',
        });
        return [headers.get('location'), headers.get('content-location')];
      };

      const there = `/functions/${fn}/there`;
      assert.deepEqual(await reply('/there'), [there, there]);
      for (const other of ['https://other.example/there', '//other.example/x', 'mailto:a@b.c']) {
        assert.deepEqual(await reply(other), [other, other]);
      }
    });

    it('has an address where the gateway listens, where none is configured', async () => {
      const { port } = new URL(house.url());

      const seen = await Promise.all([`localhost:${port}`, 'evil.example'].map(asHost));

      assert.deepEqual(
        seen.map(({ request }) => request),
        [`http://localhost:${port}/seen`, `${house.url()}/seen`],
      );
    });

    it('has the configured origin, whatever the caller names, and its own on the functions’ origin', async () => {
      const second = 'http://second.example:8080';
      await house.restart({
        publicOrigins: [PUBLIC, second],
        functionsOrigin: 'https://functions.example',
      });

      const seen = await Promise.all(
        ['evil.example', 'second.example:8080', 'functions.example'].map(asHost),
      );

      assert.deepEqual(
        seen.map(({ request }) => request),
        [`${PUBLIC}/seen`, `${second}/seen`, 'https://functions.example/seen'],
      );
      assert.equal(seen[0]?.context, `${PUBLIC}/functions/${fn}/seen`);
    });

    it('has the client’s address from a trusted proxy', async () => {
      await house.restart({ trustedProxies: ['127.0.0.1'] });

      const { headers } = await seenAt('/seen', { 'x-forwarded-for': '2001:DB8::7' });

      const forwarded = new Map(headers).get('forwarded');
      assert.match(forwarded ?? '', /^for="\[2001:db8::7\]";host=/);
    });

    /** `fetch` sets Host itself. */
    function asHost(host: string): Promise<Seen> {
      return new Promise((resolve, reject) => {
        const path = `/functions/${OWNER}/where/seen`;
        const { port } = new URL(house.url());
        httpRequest({ host: '127.0.0.1', port, path, headers: { host } }, (reply) => {
          let text = '';
          reply.on('data', (chunk) => {
            text += chunk;
          });
          reply.on('end', () => resolve(JSON.parse(text)));
        })
          .on('error', reject)
          .end();
      });
    }
  });
}
