// The local provider: the conformance suite, with and without a sandbox, and tests of its own
// features.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createFaults } from '../../../adapters/emulators/faults.ts';
import { createLocal, type LocalOptions } from '../../../adapters/local/provider.ts';
import { type InvokeResult, type LogLine, ProviderError } from '../../../adapters/provider.ts';
import { probeIsolation, trustCode } from '../../../adapters/runtime/isolation.ts';
import { createRequest, createSpec, type TestBed, testProvider } from '../conformance.ts';

const region = 'local';
const within = (ms = 30_000) => ({ signal: AbortSignal.timeout(ms) });
/** The owner in the suite's spec. */
const PUBLISHER = '0x00000000000000000000000000000000000000aa';

describe('the local provider', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-local-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const open = (options: Partial<LocalOptions> = {}) =>
    createLocal({ dir, gateway: '0xgateway', trustedPublishers: 'any', ...options });

  describe('with the best isolation of this machine', () => {
    testProvider(openBed, { tellsRetryAfter: false, isOnThisMachine: true });
  });

  describe('for trusted code only', () => {
    const openTrusted = async () => {
      const bedDir = mkdtempSync(join(tmpdir(), 'defaas-local-'));
      return openBed(bedDir, { isolation: trustCode(join(bedDir, 'isolation'), 'as a test') });
    };
    testProvider(openTrusted, {
      tellsRetryAfter: false,
      isOnThisMachine: true,
    });

    it('refuses the code of others, when it is deployed and when it is called', async () => {
      const isolation = trustCode(join(dir, 'isolation'), 'as a test');
      const before = open({ isolation, trustedPublishers: [PUBLISHER] });
      const deployment = await before.deploy(createSpec(region), within());
      assert.ok((await before.invoke(deployment, createRequest(), within())).ok);
      await before.close();
      const provider = open({ isolation, trustedPublishers: [] });

      const deploying = provider.deploy(createSpec(region, { version: 8 }), within());
      const calling = provider.invoke(deployment, createRequest(), within());

      await rejectsWith(deploying, 'PROVIDER_FORBIDDEN', 'no');
      await rejectsWith(calling, 'PROVIDER_FORBIDDEN', 'no');
      assert.equal(provider.isolation, 'trusted');
      await provider.close();
    });
  });

  it('keeps its functions across a restart, and removes what a killed deploy left behind', async () => {
    const before = open();
    const deployment = await before.deploy(createSpec(region), within());
    await before.deploy(createSpec(region, { name: 'df-other' }), within());
    await before.close();
    const code = join(dir, 'code');
    const [folder = ''] = readdirSync(code);
    const half = `${folder}.new`;
    mkdirSync(join(code, half));

    const after = open();
    await until(() => !existsSync(join(code, half)));
    const writes = countWrites(dir);
    const again = await after.deploy(createSpec(region), within());
    const result = await after.invoke(deployment, createRequest(), within());

    assert.deepEqual(again, deployment);
    assert.equal(countWrites(dir), writes);
    assert.ok(result.ok);
    await after.close();
  });

  it('takes its instances with it when it is killed, and has its functions again at the next start', async () => {
    const fixture = fileURLToPath(new URL('../fixtures/local-provider.ts', import.meta.url));
    const child = spawn(process.execPath, [fixture, dir], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = await once(child.stdout, 'data');
    const { deployment, logged } = JSON.parse(String(line));
    assert.equal(logged, 'said before');
    const [stray] = readdirSync(join(dir, 'children'));

    child.kill('SIGKILL');
    await once(child, 'exit');
    const provider = open();
    const result = await provider.invoke(deployment, createRequest(), within());
    const lines = await provider.logs(deployment, { sinceMs: 0, limit: 10 }, within());

    assert.ok(result.ok);
    assert.deepEqual(
      lines.map(({ text }) => text),
      ['said before'],
    );
    await until(() => !existsSync(`/proc/${stray}`));
    await provider.close();
  });

  it('serves the old version until the new one is ready, and no call fails', async () => {
    const provider = open();
    const deployment = await provider.deploy(createSpec(region), within());
    const versions: number[] = [];

    const calling = (async () => {
      while (versions.at(-1) !== 8) {
        const request = createRequest({ path: '/context' });
        const result = await provider.invoke(deployment, request, within());
        versions.push(JSON.parse(text(result)).version);
      }
    })();
    await provider.deploy(createSpec(region, { version: 8 }), within());
    await calling;

    assert.equal(versions[0], 7);
    await until(() => readdirSync(join(dir, 'code')).length === 1);
    await provider.close();
  });

  it('limits concurrent calls: calls above the limit are throttled and do not run', async () => {
    const provider = open();
    const spec = createSpec(region, { maxConcurrency: 2 });
    const deployment = await provider.deploy(spec, within());

    const settled = await Promise.allSettled(
      Array.from({ length: 6 }, () =>
        provider.invoke(deployment, createRequest({ path: '/sleep/300' }), within()),
      ),
    );

    const refused = settled.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []));
    assert.equal(refused.length, 4);
    for (const error of refused) {
      assert.ok(error instanceof ProviderError);
      assert.deepEqual([error.code, error.ran], ['PROVIDER_THROTTLED', 'no']);
    }
    await provider.close();
  });

  it('shares its memory: it ends idle instances for new ones, and never busy ones', async () => {
    const provider = open({ totalMemoryMiB: 700 });
    const deploy = (name: string) => provider.deploy(createSpec(region, { name }), within());
    const [one, two, three] = [await deploy('df-1'), await deploy('df-2'), await deploy('df-3')];
    const call = (of: typeof one, path: string) =>
      provider.invoke(of, createRequest({ path }), within());
    assert.ok((await call(one, '/')).ok);
    assert.ok((await call(two, '/')).ok);

    const sleeping = [call(two, '/sleep/1500'), call(three, '/sleep/1500')];
    const fourth = call(one, '/');

    await rejectsWith(fourth, 'PROVIDER_THROTTLED', 'no');
    for (const result of await Promise.all(sleeping)) assert.ok(result.ok);
    assert.equal((await call(one, '/')).cold, true);
    await provider.close();
  });

  it('ends the instance of a call that the caller has aborted', async () => {
    const provider = open();
    const deployment = await provider.deploy(createSpec(region), within());

    const call = provider.invoke(deployment, createRequest({ path: '/loop' }), within(1000));
    await rejectsWith(call, 'PROVIDER_DEADLINE', 'maybe');

    await until(() => readdirSync(join(dir, 'children')).length === 0);
    await provider.close();
  });

  it('stops instances after their idle time', async () => {
    const provider = open({ idleMs: 50 });
    const deployment = await provider.deploy(createSpec(region), within());
    await provider.invoke(deployment, createRequest(), within());

    await until(() => readdirSync(join(dir, 'children')).length === 0);

    assert.equal((await provider.invoke(deployment, createRequest(), within())).cold, true);
    await provider.close();
  });

  it('keeps the log of a function by call, with how each call ended', async () => {
    const seen: LogLine[] = [];
    const provider = open({ onLine: (_, line) => seen.push(line) });
    const deployment = await provider.deploy(createSpec(region), within());
    const call = (path: string) => provider.invoke(deployment, createRequest({ path }), within());

    const said = await call('/log/one');
    await call('/throw');
    await call('/exit/3');
    const lines = await provider.logs(deployment, { sinceMs: 0, limit: 100 }, within());
    const last = await provider.logs(deployment, { sinceMs: 0, limit: 1 }, within());

    const [first] = lines;
    assert.equal(first?.text, 'said one');
    assert.equal(first?.level, 'info');
    assert.equal(first?.requestId, said.requestId);
    assert.equal(JSON.parse(text(said)).requestId, said.requestId);
    assert.ok(lines.some(({ level, text }) => level === 'error' && /thrown on purpose/.test(text)));
    assert.match(last[0]?.text ?? '', /exit status 3$/);
    assert.deepEqual(seen, lines);
    await provider.remove(deployment, within());
    await rejectsWith(
      provider.logs(deployment, { sinceMs: 0, limit: 1 }, within()),
      'PROVIDER_NOT_FOUND',
      'no',
    );
    await provider.close();
  });

  it('bounds the log of a function that writes endlessly', async () => {
    const handler = `export default async () => {
      for (let n = 0; n < 40; n += 1) console.log('x'.repeat(100_000));
      return 'done';
    }`;
    const provider = open();
    const deployment = await provider.deploy(createSpec(region, { handler }), within());

    for (let round = 0; round < 20; round += 1) {
      assert.ok((await provider.invoke(deployment, createRequest(), within())).ok);
    }
    await provider.close();

    let bytes = 0;
    for (const file of readdirSync(join(dir, 'logs')))
      bytes += statSync(join(dir, 'logs', file)).size;
    assert.ok(bytes > 100_000 && bytes < 3 * 1024 * 1024, `${bytes} bytes`);
  });

  it('keeps secrets in a file that only its owner can read, and out of plans, lists and errors', async () => {
    const provider = open();
    const deployment = await provider.deploy(createSpec(region), within());
    const plan = await provider.plan(createSpec(region), within());

    const file = join(dir, 'functions', `${deployment.name}.json`);
    assert.equal(statSync(file).mode & 0o077, 0);
    assert.equal(statSync(join(dir, 'functions')).mode & 0o077, 0);
    assert.ok(readFileSync(file, 'utf8').includes('not-for-logs'));
    assert.ok(!JSON.stringify([deployment, plan]).includes('not-for-logs'));
    await provider.close();
  });

  it('refuses names and paths that lead out of its folder', async () => {
    const provider = open();
    const files = (path: string) => new Map([[path, Buffer.from('x')]]);

    for (const spec of [
      createSpec(region, { name: '../evil' }),
      createSpec(region, { files: files('../../evil') }),
      createSpec(region, { files: files('/etc/evil') }),
      createSpec('elsewhere'),
      createSpec(region, { env: { BIG: 'x'.repeat(5000) } }),
    ]) {
      await rejectsWith(provider.deploy(spec, within()), 'PROVIDER_INVALID', 'no');
    }
    await provider.close();
  });

  it('runs functions with files in folders under a strict umask', async () => {
    const before = process.umask(0o077);
    try {
      const provider = open();
      const files = new Map([
        ['handler.mjs', Buffer.from("export { default } from './a/b/answer.mjs';")],
        ['a/b/answer.mjs', Buffer.from("export default () => 'read';")],
      ]);
      const deployment = await provider.deploy(createSpec(region, { files }), within());

      const result = await provider.invoke(deployment, createRequest(), within());

      assert.equal(text(result), '"read"');
      await provider.close();
    } finally {
      process.umask(before);
    }
  });

  it('bills the load of the module and the call, not the start of the process', async () => {
    const provider = open();
    const handler =
      'for (const end = Date.now() + 50; Date.now() < end; ); export default () => 1;';
    const deployment = await provider.deploy(createSpec(region, { handler }), within());

    const cold = await provider.invoke(deployment, createRequest(), within());
    const warm = await provider.invoke(deployment, createRequest(), within());

    assert.ok((cold.usage.initMs ?? 0) >= 50 && cold.usage.billedMs >= 50);
    assert.ok(cold.usage.billedMs <= Math.ceil(cold.usage.measuredMs));
    assert.equal(warm.usage.initMs, undefined);
    assert.ok((warm.usage.peakMemoryMiB ?? 0) > 20);
    assert.equal(warm.usage.source, 'gateway');
    await provider.close();
  });

  it('logs which isolation it found', async () => {
    const found: unknown[] = [];

    const provider = open({ log: (_, fields) => found.push(fields.isolation, fields.found) });

    assert.deepEqual(found, [provider.isolation, probeIsolation(dir).found]);
    await provider.close();
  });
});

async function openBed(
  dir = mkdtempSync(join(tmpdir(), 'defaas-local-')),
  options: Partial<LocalOptions> = {},
): Promise<TestBed> {
  const provider = createLocal({ dir, gateway: '0xgateway', trustedPublishers: 'any', ...options });
  return {
    provider,
    region,
    faults: createFaults(),
    writes: () => countWrites(dir),
    async close() {
      await provider.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** The newest change of any function or its files, in microseconds: it changes with every write. */
function countWrites(dir: string): number {
  let newest = 0;
  for (const part of ['functions', 'code']) {
    for (const file of readdirSync(join(dir, part), { recursive: true, encoding: 'utf8' })) {
      newest = Math.max(newest, Number(statSync(join(dir, part, file)).ctimeMs));
    }
  }
  return newest;
}

async function rejectsWith(call: Promise<unknown>, code: string, ran: string): Promise<void> {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof ProviderError, String(error));
    assert.deepEqual({ code: error.code, ran: error.ran }, { code, ran }, error.message);
    return true;
  });
}

function text(result: InvokeResult): string {
  assert.ok(result.ok, JSON.stringify(result));
  return Buffer.from(result.body).toString();
}

/** Polls until the condition holds; fails after 5 s. */
async function until(isSo: () => boolean): Promise<void> {
  const endMs = performance.now() + 5000;
  while (!isSo()) {
    assert.ok(performance.now() < endMs, 'not so within 5 s');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
