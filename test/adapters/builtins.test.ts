// Every built-in module of Node, inside an instance of the local provider. Each one is decided:
// it reaches nothing, or an attempt shows that what it reaches is refused. Runs in the sandbox, and
// where there is none.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLocal } from '../../adapters/local/provider.ts';
import type { Provider } from '../../adapters/provider.ts';
import { probeIsolation, trustCode } from '../../adapters/runtime/isolation.ts';
import { createRequest, createSpec } from './conformance.ts';

const HANDLER = readFileSync(new URL('./fixtures/builtin-attacks.mjs', import.meta.url), 'utf8');
const SECRET = 'this is a secret of the host';

/** Modules that compute, or use only streams and sockets which another module has opened. */
const INERT = new Set([
  ...['assert', 'async_hooks', 'buffer', 'console', 'constants', 'diagnostics_channel', 'domain'],
  ...['events', 'path', 'perf_hooks', 'punycode', 'querystring', 'readline', 'stream'],
  ...['string_decoder', 'sys', 'timers', 'tty', 'url', 'util', 'zlib', 'node:sea'],
  // The parts of http and tls. What opens a socket in them is net.
  ...['_http_agent', '_http_common', '_http_incoming', '_http_outgoing', '_http_server'],
  ...['_tls_common', '_tls_wrap'],
]);

interface Told {
  readonly builtins: readonly string[];
  readonly got: Readonly<Record<string, { readonly got?: string; readonly refused?: string }>>;
}

const root = mkdtempSync(join(tmpdir(), 'defaas-builtins-'));
const sandbox = probeIsolation(join(root, 'isolation'));

describe('the built-in modules of Node, inside an instance', () => {
  after(() => rmSync(root, { recursive: true, force: true }));

  describe('where there is no sandbox', () => testBuiltins(() => trustCode(root, 'as a test')));
  const title = sandbox.kind === 'sandbox' ? '' : ` (skipped: ${sandbox.found})`;
  (title ? describe.skip : describe)(`in the sandbox${title}`, () => testBuiltins(() => sandbox));
});

function testBuiltins(isolation: () => ReturnType<typeof probeIsolation>): void {
  /** Not below /tmp: the sandbox has one of its own. */
  let outside: string;
  let provider: Provider;
  let servers: Server[];
  let victim: ChildProcess;
  let connections = 0;
  let told: Told;

  before(async () => {
    const dir = mkdtempSync(join(root, 'local-'));
    outside = mkdtempSync('/var/tmp/defaas-builtins-');
    writeFileSync(join(outside, 'secret'), SECRET);
    writeFileSync(join(outside, 'secret.json'), JSON.stringify({ SECRET }));
    writeFileSync(join(outside, 'evil.node'), 'no addon');
    const count = () => {
      connections += 1;
    };
    const tcp = createServer(count).listen(0, '127.0.0.1');
    servers = [tcp, createServer(count).listen(join(outside, 'socket.sock'))];
    victim = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
    await Promise.all(servers.map((server) => once(server, 'listening')));
    const address = tcp.address();
    const port = typeof address === 'object' && address ? address.port : 0;
    const trustedPublishers = 'any';
    provider = createLocal({
      dir,
      gateway: '0xgateway',
      isolation: isolation(),
      trustedPublishers,
    });
    const signal = AbortSignal.timeout(60_000);
    const spec = createSpec('local', { handler: HANDLER, timeoutMs: 60_000 });
    const deployment = await provider.deploy(spec, { signal });
    const aims = { secret: join(outside, 'secret'), outside, port, pid: victim.pid };
    const body = Buffer.from(JSON.stringify(aims));
    const result = await provider.invoke(deployment, createRequest({ body }), { signal });
    assert.ok(result.ok, JSON.stringify(result));
    told = JSON.parse(Buffer.from(result.body).toString());
  });
  after(async () => {
    for (const server of servers) server.close();
    victim.kill('SIGKILL');
    await provider.close();
    rmSync(outside, { recursive: true, force: true });
  });

  it('are each decided: what is new in a version of Node is looked at first', () => {
    const attempted = new Set(Object.keys(told.got).map((name) => name.split(' ')[0]));
    const undecided = told.builtins
      .map((name) => name.replace(/\/.*/, ''))
      .filter((name) => !INERT.has(name) && !attempted.has(name));

    assert.deepEqual(undecided, []);
  });

  it('refuse every attempt to leave the instance', () => {
    const gotten = Object.entries(told.got).filter(([, { got }]) => got !== undefined);

    assert.deepEqual(gotten, []);
    assert.ok(!JSON.stringify(told).includes(SECRET));
  });

  it('change nothing on the host', () => {
    assert.deepEqual(readdirSync(outside).sort(), [
      ...['evil.node', 'secret', 'secret.json', 'socket.sock'],
    ]);
    assert.equal(readFileSync(join(outside, 'secret'), 'utf8'), SECRET);
    assert.equal(connections, 0);
    assert.equal(victim.exitCode ?? victim.signalCode, null);
  });
}
