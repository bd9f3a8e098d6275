// What a publisher's module may export by default, and what a response of `fetch` becomes: the same
// on every cloud.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import type { Deployment, InvokeRequest, InvokeResult, Provider } from '../../adapters/provider.ts';
import { bundle } from '../../ipfs/bundle.ts';
import { createRequest, createSpec } from './conformance.ts';
import { openProviders } from './fixtures/emulated-providers.ts';

const within = () => ({ signal: AbortSignal.timeout(30_000) });
const HI = `new Response('hi ' + new URL(request.url).pathname + ' ' + context.version)`;

const ACCEPTED: readonly (readonly [title: string, entry: string, source: string])[] = [
  ['a function', 'handler.mjs', `export default (request, context) => ${HI};`],
  [
    'an object with fetch',
    'handler.mjs',
    `export default { fetch(request, context) { return ${HI}; } };`,
  ],
  [
    'an app: an instance whose fetch needs its this',
    'handler.mjs',
    `class App { #answer = (request, context) => ${HI}; fetch(...given) { return this.#answer(...given); } }
    export default new App();`,
  ],
  [
    'a function that is an app with fetch',
    'handler.mjs',
    `export default Object.assign(() => 'not called', { fetch: async (request, context) => ${HI} });`,
  ],
  [
    'what tsc compiles to CommonJS',
    'handler.cjs',
    `Object.defineProperty(exports, '__esModule', { value: true });
    exports.default = (request, context) => ${HI};`,
  ],
  [
    'an app that tsc compiles to CommonJS',
    'handler.cjs',
    `exports.__esModule = true; exports.default = { fetch: (request, context) => ${HI} };`,
  ],
  ['module.exports', 'handler.cjs', `module.exports = async (request, context) => ${HI};`],
  [
    'an object of default',
    'handler.mjs',
    `export default { default: (request, context) => ${HI} };`,
  ],
];

const REFUSED: readonly (readonly [title: string, source: string])[] = [
  ['nothing', 'export const handler = () => null;'],
  ['undefined', 'export default undefined;'],
  ['null', 'export default null;'],
  ['a text', `export default 'text';`],
  ['an object without fetch', 'export default { handler() {} };'],
  ['a class', 'export default class { fetch() { return null; } }'],
  ['an app for a server of Node', 'export default Object.assign(() => {}, { listen() {} });'],
];

describe('the default export of a module', () => {
  let dir: string;
  let providers: Provider[];
  const closing: (() => Promise<void>)[] = [];

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-exports-'));
    providers = await openProviders(dir, closing);
  });
  after(async () => {
    await Promise.all(providers.map((provider) => provider.close()));
    await Promise.all(closing.map((close) => close()));
    rmSync(dir, { recursive: true, force: true });
  });

  for (const [title, entry, source] of ACCEPTED) {
    it(`is called on every cloud when it is ${title}`, async () => {
      const results = await everywhere(await bundled(entry, source), { path: '/there' });

      for (const { name, result } of results) {
        assert.ok(result.ok, `${name} ${JSON.stringify(result)}`);
        assert.equal(Buffer.from(result.body).toString(), 'hi /there 7', name);
      }
    });
  }

  for (const [title, source] of REFUSED) {
    it(`is a failure of the start on every cloud when it is ${title}`, async () => {
      const files = new Map([['handler.mjs', Buffer.from(source)]]);

      const results = await everywhere(files, {});

      for (const { name, result } of results) {
        assert.ok(!result.ok, name);
        assert.deepEqual([result.error.kind, result.error.type], ['init', 'NoHandler'], name);
        assert.equal(
          result.error.message,
          results[0]?.result.ok === false && results[0].result.error.message,
        );
      }
    });
  }

  describe('that returns what fetch gives', () => {
    const PAGE = '<p>a page, a page, a page, a page</p>';
    const BODIES: Readonly<Record<string, Uint8Array>> = {
      gzip: gzipSync(PAGE),
      deflate: deflateSync(PAGE),
      br: brotliCompressSync(PAGE),
      'deflate, gzip': gzipSync(deflateSync(PAGE)),
    };
    let upstream: Server;

    before(async () => {
      upstream = createServer((request, response) => {
        const coding = decodeURIComponent(request.url?.slice(1) ?? '');
        const headers = { 'content-encoding': coding, 'content-type': 'text/html', etag: '"1"' };
        response.writeHead(200, headers).end(BODIES[coding]);
      });
      await once(upstream.listen(0, '127.0.0.1'), 'listening');
    });
    after(() => {
      upstream.closeAllConnections();
      upstream.close();
    });

    it('is readable in every coding, also when its headers are copied', async () => {
      const { port } = upstream.address() as AddressInfo;
      const files = await bundled(
        'handler.mjs',
        `export default async (request) => {
          const { pathname, search } = new URL(request.url);
          const response = await fetch('http://127.0.0.1:${port}' + pathname);
          return search === '' ? response : new Response(response.body, response);
        };`,
      );
      // The sandbox of the local provider has no network.
      const clouds = providers.filter(({ name }) => name !== 'local');

      for (const coding of Object.keys(BODIES)) {
        for (const query of ['', 'copy']) {
          const path = `/${encodeURIComponent(coding)}`;
          for (const { name, result } of await everywhere(files, { path, query }, clouds)) {
            assert.ok(result.ok, name);
            assert.equal(Buffer.from(result.body).toString(), PAGE, `${name} ${coding}`);
            const names = result.headers.map(([each]) => each);
            assert.deepEqual(names.filter((each) => each !== 'date').sort(), [
              'content-type',
              'etag',
            ]);
          }
        }
      }
    });
  });

  /** Deploys once per file set and cloud, and calls it there. */
  async function everywhere(
    files: ReadonlyMap<string, Uint8Array>,
    request: Partial<InvokeRequest>,
    clouds = providers,
  ): Promise<readonly { readonly name: string; readonly result: InvokeResult }[]> {
    return Promise.all(
      clouds.map(async (provider) => {
        const spec = { ...createSpec(provider.regions[0] ?? ''), files };
        const deployment: Deployment = await provider.deploy(spec, within());
        const result = await provider.invoke(deployment, createRequest(request), within());
        return { name: provider.name, result };
      }),
    );
  }

  async function bundled(entry: string, source: string): Promise<ReadonlyMap<string, Uint8Array>> {
    const folder = mkdtempSync(join(dir, 'function-'));
    writeFileSync(join(folder, 'defaas.json'), JSON.stringify({ name: 'exports', entry }));
    writeFileSync(join(folder, entry), source);
    return (await bundle(folder)).files;
  }
});
