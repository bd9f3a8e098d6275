// Hostile code in the sandbox of the local provider: each attempt is refused, and the provider
// still answers. Runs twice: with all walls, and without Node's permission model, as if that had
// been broken.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createLocal } from '../../adapters/local/provider.ts';
import type { Deployment, InvokeResult, Provider } from '../../adapters/provider.ts';
import { type Isolation, probeIsolation, trustCode } from '../../adapters/runtime/isolation.ts';
import { createFilter } from '../../adapters/runtime/seccomp.ts';
import { createRequest, createSpec } from './conformance.ts';

const HANDLER = readFileSync(new URL('./fixtures/hostile-handler.mjs', import.meta.url), 'utf8');
const TIMEOUT_MS = 5000;
/** A key in the environment of the gateway. */
const KEY = `0x${'ab'.repeat(32)}`;

type Got = Readonly<Record<string, { readonly got?: string; readonly refused?: string }>>;

const root = mkdtempSync(join(tmpdir(), 'defaas-isolation-'));
const sandbox = probeIsolation(join(root, 'isolation'));
const UNIX_PATH = join(root, 'gateway.sock');
const isSandbox = sandbox.kind === 'sandbox';
const reason = isSandbox ? '' : ` (skipped: ${sandbox.found})`;

describe(`isolation${reason}`, () => {
  const describeOnSandbox = isSandbox ? describe : describe.skip;
  describeOnSandbox('with all walls', () => testWalls(() => sandbox));
  describeOnSandbox('without Node’s permission model', () => testWalls(withoutPermissionModel));
  after(() => rmSync(root, { recursive: true, force: true }));

  describe('where there is no sandbox', () => {
    let dir: string;
    let provider: Provider;
    let deployment: Deployment;

    beforeEach(async () => {
      dir = mkdtempSync(join(root, 'local-'));
      const isolation = trustCode(join(dir, 'isolation'), 'as a test');
      provider = createLocal({ dir, gateway: '0xgateway', isolation, trustedPublishers: 'any' });
      const signal = AbortSignal.timeout(30_000);
      deployment = await provider.deploy(createSpec('local', { handler: HANDLER }), { signal });
    });
    afterEach(() => provider.close());

    const attempt = async (path: string, aims: unknown = []): Promise<Got> => {
      const body = Buffer.from(JSON.stringify(aims));
      const signal = AbortSignal.timeout(30_000);
      const result = await provider.invoke(deployment, createRequest({ path, body }), { signal });
      assert.ok(result.ok);
      return JSON.parse(Buffer.from(result.body).toString());
    };

    it('still refuses files of the host', async () => {
      writeFileSync(join(dir, 'secret'), 'x');

      const got = await attempt('/read', ['/etc/passwd', join(dir, 'secret'), '/root']);

      for (const { refused } of Object.values(got)) assert.equal(refused, 'ERR_ACCESS_DENIED');
      assert.equal(provider.isolation, 'trusted');
    });

    it('still refuses the network', async () => {
      const got = await attempt('/connect', [['127.0.0.1', 1], join(dir, 'a.sock')]);
      const { interfaces: _, ...others } = await attempt('/network');

      for (const { refused } of Object.values({ ...got, ...others })) {
        assert.equal(refused, 'ERR_ACCESS_DENIED');
      }
    });
  });

  it('has a filter of system calls for each CPU architecture that it supports', () => {
    for (const architecture of ['x64', 'arm64']) {
      const filter = createFilter(architecture);
      assert.ok(filter && filter.length % 8 === 0 && filter.length > 100);
    }
    assert.equal(createFilter('mips'), undefined);
  });
});

function testWalls(isolation: () => Isolation): void {
  let server: Server;
  let unixServer: Server;
  let victim: ChildProcess;
  let port = 0;
  let connections = 0;
  let dir: string;
  let provider: Provider;
  let deployment: Deployment;

  before(async () => {
    process.env.DEFAAS_KEYS_OF_A_TEST = KEY;
    const count = () => {
      connections += 1;
    };
    server = createServer(count).listen(0, '127.0.0.1');
    unixServer = createServer(count).listen(UNIX_PATH);
    await Promise.all([once(server, 'listening'), once(unixServer, 'listening')]);
    const address = server.address();
    port = typeof address === 'object' && address ? address.port : 0;
    victim = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
    dir = mkdtempSync(join(root, 'local-'));
    // No publisher is trusted, so the sandbox must hold by itself.
    provider = createLocal({ dir, gateway: '0xgateway', isolation: isolation() });
    deployment = await deploy('df-hostile');
  });
  after(async () => {
    delete process.env.DEFAAS_KEYS_OF_A_TEST;
    server.close();
    unixServer.close();
    victim.kill('SIGKILL');
    await Promise.all([once(victim, 'exit'), provider.close()]);
  });
  afterEach(async () => {
    const result = await call('/');
    assert.ok(result.ok, 'the provider still answers');
  });

  const deploy = (name: string, overrides: Partial<Parameters<typeof createSpec>[1]> = {}) =>
    provider.deploy(
      createSpec('local', { name, handler: HANDLER, timeoutMs: TIMEOUT_MS, ...overrides }),
      { signal: AbortSignal.timeout(30_000) },
    );
  const call = (path: string, aims?: unknown, of = deployment): Promise<InvokeResult> =>
    provider.invoke(
      of,
      createRequest({ path, body: Buffer.from(aims === undefined ? '' : JSON.stringify(aims)) }),
      { signal: AbortSignal.timeout(30_000) },
    );
  const attempt = async (path: string, aims?: unknown, of = deployment): Promise<Got> => {
    const result = await call(path, aims, of);
    assert.ok(result.ok, JSON.stringify(result));
    return JSON.parse(Buffer.from(result.body).toString());
  };
  const refusesAll = (got: Got) => {
    for (const [aim, { got: what }] of Object.entries(got)) {
      assert.equal(what, undefined, `${aim} gave ${what}`);
    }
  };

  it('lets no file of the host be read, nor another function’s code and secrets', async () => {
    const other = await deploy('df-neighbour');

    const got = await attempt('/read', [
      ...['/etc/passwd', '/etc/shadow', '/etc/hostname', '/root', '/home', '/work', '/usr/bin'],
      ...[process.execPath, fileURLToPath(import.meta.url), process.cwd(), root, dir, '/run'],
      join(dir, 'functions', `${other.name}.json`),
      ...['/proc/1/root/etc/passwd', '/proc/1/cwd/../../etc/passwd', '/var/task/../../etc/passwd'],
      ...[`/proc/${process.pid}/environ`, `/proc/${process.pid}/cmdline`, '/dev/mem', '/dev/vda'],
    ]);

    refusesAll(got);
    refusesAll(await attempt('/links', ['/etc/passwd', join(dir, 'functions')]));
  });

  it('shows the version’s environment and nothing else', async () => {
    const env = {
      NODE_OPTIONS: '--allow-fs-read=*',
      LD_PRELOAD: '/var/task/evil.so',
      MINE: 'yes',
    };
    const tricky = await deploy('df-tricky', { env });

    const got = await attempt('/env', undefined, tricky);
    const files = await attempt('/read', [
      '/proc/1/environ',
      '/proc/self/environ',
      '/proc/self/cmdline',
    ]);

    const text = JSON.stringify([got, files]);
    assert.ok(!text.includes(KEY) && !text.includes('DEFAAS_KEYS'));
    const names = Object.keys(got.env ?? {}).filter((name) => !(name in env));
    assert.deepEqual(names.sort(), [
      ...['DEFAAS_FUNCTION', 'DEFAAS_VERSION', 'HOME', 'LANG', 'TMPDIR', 'TOKEN', 'TZ'],
    ]);
    refusesAll(await attempt('/read', ['/etc/passwd', '/work'], tricky));
  });

  it('lets no network be reached: not the gateway, not the metadata address, no name server', async () => {
    const got = await attempt('/connect', [
      ['127.0.0.1', port],
      ['169.254.169.254', 80],
      ['1.1.1.1', 53],
      UNIX_PATH,
      '\0defaas-abstract',
    ]);

    refusesAll(got);
    refusesAll(await attempt('/network'));
    assert.equal(connections, 0);
  });

  it('lets no process but the function’s own be signalled', async () => {
    const got = await attempt('/kill', [victim.pid, process.pid, process.ppid]);

    refusesAll(got);
    assert.equal(victim.exitCode ?? victim.signalCode, null);
    assert.ok(existsSync(`/proc/${victim.pid}`));
  });

  it('lets no process be started: a fork bomb has no effect', async () => {
    const got = await attempt('/processes', ['spawn', 'spawnSync', 'fork', 'exec']);
    const bomb = await attempt('/fork-bomb');

    refusesAll(got);
    assert.deepEqual(bomb, { started: 0 });
  });

  for (const path of ['/heap', '/buffers']) {
    it(`bounds memory: growing ${path.slice(1)} ends the instance, not the machine`, async () => {
      const result = await call(path);

      assert.ok(!result.ok);
      assert.equal(result.error.kind, 'exit');
      assert.ok((result.usage.peakMemoryMiB ?? 0) < 256 + 800);
    });
  }

  it('bounds time: a loop is killed at its timeout, and others are served meanwhile', async () => {
    const short = await deploy('df-spin', { timeoutMs: 1000 });
    const spinning = call('/spin', undefined, short);

    const meanwhile = await call('/');
    const result = await spinning;

    assert.ok(meanwhile.ok);
    assert.ok(!result.ok);
    assert.equal(result.error.kind, 'timeout');
    assert.ok(result.usage.billedMs >= 1000);
  });

  it('gives no time between calls: work that goes on after the answer is frozen', async () => {
    const before = await attempt('/linger');
    // Half a second in which it would tick a hundred times.
    await new Promise((resolve) => setTimeout(resolve, 500));
    const after = await attempt('/ticks');

    assert.deepEqual(before, { ticks: 0 });
    assert.ok(Number(after.ticks) < 20, JSON.stringify(after));
    await call('/heap');
  });

  it('bounds the disk: the function’s temporary folder is full long before the host’s', async () => {
    const { filledBytes, ...rest } = await attempt('/fill');

    assert.ok(Number(filledBytes) > 10_000_000 && Number(filledBytes) <= 64 * 1024 * 1024);
    refusesAll(rest);
  });

  it('lets nothing be written outside the function’s temporary folder', async () => {
    const outside = [
      ...['/x', '/var/task/x', '/var/task/handler.mjs', '/var/runtime/local.mjs', '/opt/node'],
      ...['/usr/lib/x', '/dev/x', '/dev/shm/x', '/proc/sys/kernel/hostname', '/tmp/../x'],
      '/proc/sys/kernel/core_pattern',
      ...[join(dir, 'x'), join(root, 'x'), '/proc/sysrq-trigger', '/etc/passwd'],
    ];

    refusesAll(await attempt('/write', outside));
    assert.deepEqual(await attempt('/write', ['/tmp/x']), { '/tmp/x': { got: 'opened' } });
    assert.ok(!existsSync(join(dir, 'x')));
  });

  it('cuts off a log that is written without end', async () => {
    const result = await call('/shout');

    assert.ok(result.ok);
    const lines = await provider.logs(
      deployment,
      { sinceMs: 0, limit: 10_000 },
      { signal: AbortSignal.timeout(10_000) },
    );
    const bytes = lines.reduce((sum, { text }) => sum + text.length, 0);
    assert.ok(bytes < 2 * 1024 * 1024, `${bytes}`);
  });

  for (const [title, bytes] of [
    ['bytes that are no frame', Buffer.alloc(64, 'x')],
    ['an answer of 4 GB', Buffer.from('00000002ffffffff7b7d', 'hex')],
    ['an answer to another call', frame({ type: 'answer', requestId: 'other', status: 200 })],
    ['a head that is no object', frame([1])],
  ] as const) {
    it(`ends the instance that abuses the channel to the host with ${title}`, async () => {
      const result = await call('/garbage', bytes.toString('hex'));

      assert.ok(!result.ok);
      assert.ok(['exit', 'too-large'].includes(result.error.kind));
      assert.ok(result.usage.measuredMs < TIMEOUT_MS);
    });
  }

  it('leaves no process and no file behind', async () => {
    const fresh = createLocal({
      dir: mkdtempSync(join(root, 'local-')),
      gateway: '0xgateway',
      isolation: isolation(),
    });
    await fresh.close();
    for (const folder of readdirSync(root)) {
      const records = join(root, folder, 'children');
      if (folder.startsWith('local-') && join(root, folder) !== dir && existsSync(records)) {
        assert.deepEqual(readdirSync(records), []);
      }
    }
  });
}

/** The isolation with bubblewrap, its limits and its filter alone. */
function withoutPermissionModel(): Isolation {
  return {
    ...sandbox,
    enclose(options) {
      const place = sandbox.enclose(options);
      const isWall = (arg: string) => /^--(permission|allow-|disable-sigusr1)/.test(arg);
      return { ...place, args: place.args.filter((arg) => !isWall(arg)) };
    },
  };
}

function frame(head: unknown): Buffer {
  const text = Buffer.from(JSON.stringify(head));
  const prefix = Buffer.alloc(8);
  prefix.writeUInt32BE(text.length, 0);
  return Buffer.concat([prefix, text]);
}
