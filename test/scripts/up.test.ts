import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { startOf } from '../../adapters/runtime/children.ts';

/** A house comes up in about 10 s, in more where other work runs beside it. */
const UP_MS = 90_000;

interface Up {
  readonly pid: number;
  readonly gateway: string;
  readonly chain: { readonly rpcUrl: string; readonly contracts: Record<string, string> };
  readonly emulators: Record<string, unknown>;
  readonly example: string;
  readonly ipfs: { readonly multiaddrs: readonly string[] };
}

interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  output(): string;
}

describe('up', function () {
  this.timeout(4 * UP_MS);
  const home = mkdtempSync(join(tmpdir(), 'house-'));
  const started: Started[] = [];

  const start = (env: NodeJS.ProcessEnv = {}): Started => {
    const child = spawn(process.execPath, ['scripts/launch.mjs', 'start'], {
      env: { ...process.env, DEFAAS_HOME: home, DEFAAS_PORT: '0', ...env },
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    const house = {
      child,
      ended: once(child, 'close').then(([code]) => code),
      output: () => output,
    };
    started.push(house);
    return house;
  };

  const untilUp = async (house: Started): Promise<Up> => {
    const file = join(home, 'up.json');
    // An up.json that a killed house left behind names another process.
    const read = (): Up | undefined => {
      const up = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
      return up?.pid === house.child.pid ? up : undefined;
    };
    await until(() => read() !== undefined || house.child.exitCode !== null, UP_MS);
    const up = read();
    assert.ok(up, house.output());
    return up;
  };

  const pids = (): number[] =>
    readdirSync(join(home, 'pids'))
      .map(Number)
      .filter((pid) => Number.isInteger(pid));

  const kill = async (house: Started): Promise<void> => {
    house.child.kill('SIGKILL');
    await house.ended;
  };

  afterEach(async () => {
    for (const { child, ended } of started.splice(0)) {
      child.kill('SIGTERM');
      await ended;
    }
  });

  after(() => rmSync(home, { recursive: true, force: true }));

  it('converges when the first start is killed again and again', async () => {
    for (const step of [
      'accounts and contracts',
      'deploying the contracts',
      'publishing and deploying hello',
    ]) {
      const house = start();
      await until(() => house.output().includes(step) || house.child.exitCode !== null, UP_MS);
      assert.equal(house.child.exitCode, null, house.output());
      await kill(house);
    }

    const up = await untilUp(start());

    assert.equal((await fetch(up.example)).status, 200);
  });

  it('prints where everything is, and lets only the owner read its keys', async () => {
    const house = start();
    const up = await untilUp(house);
    await until(() => house.output().includes('curl'), 5_000);

    const reply = await fetch(up.example);

    assert.equal(reply.status, 200);
    assert.match(reply.headers.get('defaas-receipt') ?? '', /^0x[0-9a-f]{64}$/);
    assert.ok(house.output().includes(`curl -i ${up.example}`));
    assert.equal(up.pid, house.child.pid);
    assert.deepEqual(Object.keys(up.emulators).sort(), ['aws', 'azure', 'google']);
    assert.ok(up.ipfs.multiaddrs.every((address) => address.startsWith('/ip4/127.0.0.1/')));
    const keys = readdirSync(join(home, 'keys'));
    assert.ok(keys.includes('user.json') && keys.includes('deployer.json'));
    for (const key of keys) assert.equal(statSync(join(home, 'keys', key)).mode & 0o777, 0o600);
  });

  it('refuses a second house in the same folder', async () => {
    await untilUp(start());

    const second = start();

    assert.equal(await second.ended, 1);
    assert.match(second.output(), /^HOUSE_RUNNING: .*, on .*, /m);
  });

  it('refuses settings of real clouds, which its emulators would ignore', async () => {
    const house = start({ DEFAAS_AWS_ROLE_ARN: 'arn:aws:iam::123456789012:role/functions' });

    assert.equal(await house.ended, 1);
    assert.match(house.output(), /^CONFIG_INVALID: .*DEFAAS_AWS_ROLE_ARN would be ignored/m);
  });

  it('names the port when another program has it', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const address = taken.address();
    assert.ok(typeof address === 'object' && address !== null);

    const house = start({ DEFAAS_PORT: String(address.port) });
    const code = await house.ended;
    taken.close();

    assert.equal(code, 1);
    assert.match(house.output(), /^PORT_TAKEN: /m);
    assert.deepEqual(pids(), []);
  });

  it('reports that the given chain does not answer', async () => {
    const house = start({ DEFAAS_CHAIN_RPC_URL: 'http://127.0.0.1:9/' });

    assert.equal(await house.ended, 1);
    assert.match(house.output(), /^CHAIN_UNREACHABLE: /m);
    assert.deepEqual(pids(), []);
  });

  it('stops as a whole when one of its parts ends by itself', async () => {
    const house = start();
    await untilUp(house);
    const evm = pids().find((pid) => commandOf(pid).includes('anvil')) ?? 0;

    process.kill(evm, 'SIGKILL');

    assert.equal(await house.ended, 1);
    assert.match(house.output(), /^HOUSE_DOWN: the chain /m);
    assert.deepEqual(pids(), []);
    assert.ok(!existsSync(join(home, 'up.json')));
  });

  it('stops within 10 s, removes up.json and leaves no process', async () => {
    const house = start();
    await untilUp(house);
    const running = pids().map((pid) => ({ pid, start: startOf(pid) }));
    const askedAtMs = Date.now();

    house.child.kill('SIGTERM');
    house.child.kill('SIGTERM');
    const code = await house.ended;

    assert.equal(code, 0);
    assert.ok(Date.now() - askedAtMs < 10_000);
    assert.ok(running.length >= 4);
    assert.deepEqual(running.filter(isRunning), []);
    assert.ok(!existsSync(join(home, 'up.json')));
  });

  it('has all its state again after kill -9, and ends processes that were left, also a stopped one', async () => {
    const house = start();
    const before = await untilUp(house);
    const receipt = (await fetch(before.example)).headers.get('defaas-receipt');
    const head = await blockHash(before.chain.rpcUrl, 'latest');
    const left = pids().map((pid) => ({ pid, start: startOf(pid) }));
    const gatewayPid = left.find(({ pid }) => commandOf(pid).includes('broker/main.ts'))?.pid ?? 0;
    process.kill(gatewayPid, 'SIGSTOP');
    await kill(house);
    assert.ok(isRunning({ pid: gatewayPid, start: startOf(gatewayPid) }));

    const after = await untilUp(start());

    assert.deepEqual(left.filter(isRunning), []);
    assert.deepEqual(after.chain.contracts, before.chain.contracts);
    assert.equal(after.example, before.example);
    assert.equal((await blockHash(after.chain.rpcUrl, head.number)).hash, head.hash);
    const kept = await fetch(`${after.gateway}/receipts/${receipt}`);
    assert.equal(kept.status, 200);
    assert.equal((await fetch(after.example)).status, 200);
  });

  it('is stopped by defaas down, begins anew after defaas reset, and loses nothing without a yes', async () => {
    const house = start();
    const before = await untilUp(house);

    const unconfirmed = await defaas('reset');
    const stillUp = (await fetch(before.example)).status;
    const down = await defaas('down', '--json');
    const code = await house.ended;
    const again = await defaas('down', '--json');
    const reset = await defaas('reset', '--yes', '--json');
    const after = await untilUp(start());

    assert.match(unconfirmed.stderr, /^NOT_CONFIRMED: .*nothing was done, say --yes\n$/);
    assert.deepEqual([unconfirmed.code, stillUp], [1, 200]);
    assert.deepEqual([down.code, code], [0, 0]);
    assert.deepEqual(JSON.parse(down.stdout), { home, pid: before.pid });
    assert.deepEqual([again.code, JSON.parse(again.stdout).pid], [0, null]);
    const { aside } = JSON.parse(reset.stdout);
    const { billing } = JSON.parse(readFileSync(join(aside, 'contracts.json'), 'utf8'));
    assert.equal(billing, before.chain.contracts.billing);
    assert.notEqual(after.chain.contracts.billing, billing);
    assert.equal((await fetch(after.example)).status, 200);
  });

  it('is not reset where it has no chain of its own', async () => {
    const empty = mkdtempSync(join(tmpdir(), 'no-house-'));
    const refused = await defaas('reset', '--yes', { DEFAAS_HOME: empty });
    rmSync(empty, { recursive: true });

    assert.equal(refused.code, 2);
    assert.match(refused.stderr, /^USAGE: .* nothing was done\n$/);
  });

  const defaas = async (...given: (string | NodeJS.ProcessEnv)[]) => {
    const words = given.filter((one) => typeof one === 'string');
    const env = Object.assign({}, ...given.filter((one) => typeof one !== 'string'));
    const child = spawn(process.execPath, ['scripts/defaas.ts', ...words], {
      env: { ...process.env, DEFAAS_HOME: home, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const [stdout, stderr, [code]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, 'close'),
    ]);
    return { code, stdout, stderr };
  };
});

async function blockHash(
  rpcUrl: string,
  block: string,
): Promise<{ readonly number: string; readonly hash: string }> {
  const body = { jsonrpc: '2.0', id: 1, method: 'eth_getBlockByNumber', params: [block, false] };
  const reply = await fetch(rpcUrl, { method: 'POST', body: JSON.stringify(body) });
  return (await reply.json()).result;
}

function commandOf(pid: number): string {
  return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
}

/** Whether it is still the same process and not a zombie. */
function isRunning({ pid, start }: { pid: number; start: string | undefined }): boolean {
  if (start === undefined || startOf(pid) !== start) return false;
  return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}

async function until(isSo: () => boolean, timeoutMs: number): Promise<void> {
  const deadlineMs = Date.now() + timeoutMs;
  while (!isSo()) {
    assert.ok(Date.now() < deadlineMs, `not so after ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
