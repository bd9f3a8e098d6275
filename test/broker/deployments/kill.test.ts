// `kill -9` of the gateway in the middle of a deploy on three clouds: the next start completes the
// deploy by itself.
import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { connect } from '../../../broker/client/connection.ts';
import {
  checkDeployments,
  type DeployedVersion,
  deploy,
  destroy,
  fetchDeployments,
} from '../../../broker/client/deployments.ts';
import { createSession, type Session } from '../../../broker/client/session.ts';
import type { Chain } from '../../../contracts/chain.ts';
import type { Key } from '../../../contracts/keystore.ts';
import { type HardhatChain, startHardhatChain } from '../../contracts/hardhat-chain.ts';
import { environmentOf, KEYS, publishVersion, registerGateway } from '../small-house.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const CLOUDS = ['aws-lambda', 'google-cloud-functions', 'azure-functions'];
/** Steps after which the gateway is killed; a deploy on three clouds has about fifteen. */
const CUTS = [1, 5, 9, 13];
const SETTLED_MS = 60_000;
const LOOK_EVERY_MS = 50;

describe('a deploy under kill -9', function () {
  this.timeout(240_000);
  let dir: string;
  let chain: HardhatChain;
  let view: Chain;
  let env: Record<string, string>;
  let emulators: ChildProcess;
  let gateway: ChildProcess;
  let url: string;

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-kill-'));
    chain = await startHardhatChain();
    view = await chain.open();
    await registerGateway(view);
    const clouds = join(dir, 'emulators');
    env = {
      PATH: process.env.PATH ?? '',
      ...environmentOf(dir, chain),
      DEFAAS_EMULATORS_FILE: join(clouds, 'emulators.json'),
    };
    emulators = fork(join(ROOT, 'scripts/emulators.ts'), ['--dir', clouds], {
      env: { ...env, DEFAAS_HOME: join(dir, 'clouds') },
      stdio: 'ignore',
    });
    await readyOf(emulators);
    await start();
  });
  after(async () => {
    await end(gateway, 'SIGTERM');
    await end(emulators, 'SIGTERM');
    await chain?.close();
    rmSync(dir, { recursive: true, force: true });
  });

  async function start(): Promise<void> {
    gateway = fork(join(ROOT, 'broker/main.ts'), { env, stdio: 'ignore' });
    ({ url } = await readyOf(gateway));
  }

  async function kill(): Promise<void> {
    await end(gateway, 'SIGKILL');
  }

  async function session(key: Key): Promise<Session> {
    const { trust } = chain;
    const gateway = KEYS.gateway.address;
    return createSession({
      connection: await connect(url, { trust, gateway }),
      key: key.privateKey,
    });
  }

  /** Its deployments, once all are in this state. */
  async function until(name: string, state: string, count: number): Promise<DeployedVersion[]> {
    const owner = await session(KEYS.publisher);
    const deadlineMs = Date.now() + SETTLED_MS;
    for (;;) {
      const found = await fetchDeployments(owner, { owner: KEYS.publisher.address, name });
      if (found.length === count && found.every((one) => one.state === state)) return [...found];
      const seen = JSON.stringify(found, (_, one) => (typeof one === 'bigint' ? `${one}` : one));
      assert.ok(Date.now() < deadlineMs, seen);
      await setTimeout(LOOK_EVERY_MS);
    }
  }

  for (const cut of CUTS) {
    it(`is finished by the next start when it was cut after step ${cut}`, async () => {
      const name = `cut-${cut}`;
      const owner = await session(KEYS.publisher);
      const handler = `export default async () => new Response('${name}');`;
      await publishVersion({ view, session: owner, dir }, { name, handler, manifest: {} });
      let steps = 0;
      let killed: Promise<void> | undefined;

      const request = { owner: KEYS.publisher.address, name, version: 'latest', providers: CLOUDS };
      await deploy(owner, {
        ...request,
        onStep: () => {
          steps += 1;
          if (steps === cut) killed = kill();
        },
      }).catch(() => {});
      assert.ok(killed, `only ${steps} steps`);
      await killed;
      await start();
      const live = await until(name, 'live', CLOUDS.length);

      await view.synced();
      const fn = view.view.functionOf(KEYS.publisher.address, name);
      const [version] = fn?.versions ?? [];
      assert.ok(version);
      const ids = live.map(({ id }) => id ?? 0).sort((a, b) => a - b);
      await announced(version, ids);
      assert.deepEqual(
        view.view.deployments(version).map(({ id }) => id),
        ids,
      );
    });
  }

  it('leaves nothing at a cloud without a record, and a destroy that is killed is completed too', async () => {
    const operator = await session(KEYS.gateway);
    const before = await checkDeployments(operator);
    const [first] = CUTS;
    const name = `cut-${first}`;
    const owner = await session(KEYS.publisher);
    let killed: Promise<void> | undefined;

    await destroy(owner, {
      owner: KEYS.publisher.address,
      name,
      onStep: () => {
        killed ??= kill();
      },
    }).catch(() => {});
    await killed;
    await start();
    await until(name, 'gone', 0);

    const after = await checkDeployments(await session(KEYS.gateway));
    for (const { functions, orphans, ghosts, error } of before.clouds) {
      assert.deepEqual([functions, orphans, ghosts, error], [CUTS.length, [], [], undefined]);
    }
    for (const { functions, orphans, ghosts, error } of after.clouds) {
      assert.deepEqual([functions, orphans, ghosts, error], [CUTS.length - 1, [], [], undefined]);
    }
  });

  /** The candidate set follows the records a moment later. */
  async function announced(version: `0x${string}`, ids: readonly number[]): Promise<void> {
    const deadlineMs = Date.now() + SETTLED_MS;
    const candidates = () => view.view.candidates(version, KEYS.gateway.address)?.ids;
    while (candidates()?.join() !== ids.join()) {
      assert.ok(Date.now() < deadlineMs, `${candidates()} is not ${ids}`);
      await setTimeout(LOOK_EVERY_MS);
    }
  }
});

async function readyOf(child: ChildProcess): Promise<{ readonly url: string }> {
  const [message] = await Promise.race([
    once(child, 'message'),
    once(child, 'exit').then(([code]) => Promise.reject(new Error(`it ended with ${code}`))),
  ]);
  return message.ready;
}

async function end(child: ChildProcess | undefined, signal: NodeJS.Signals): Promise<void> {
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill(signal);
  await ended;
}
