// Where calls run by the policy of their version and their own: two real clouds behind one gateway,
// and an audit that finds nothing.
import assert from 'node:assert/strict';
import { fetchBlock } from '../../../broker/client/artifacts.ts';
import { audit } from '../../../broker/client/audit.ts';
import { deploy } from '../../../broker/client/deployments.ts';
import type { ReceiptSummary } from '../../../broker/client/invoke.ts';
import type { InvokeRequest } from '../../../broker/client/invoke-request.ts';
import { settle } from '../../../broker/client/settlement.ts';
import { type Config, readConfig } from '../../../broker/config.ts';
import { environmentOf, KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';

const HANDLER = 'export default (_, context) => context.provider;';
/** Slow at one cloud, when it is asked to be. */
const SLOW_AT = `export default async (request, context) => {
  const isSlow = new URL(request.url).searchParams.get('slow') === context.provider;
  if (isSlow) await new Promise((resolve) => setTimeout(resolve, 1_000));
  return context.provider;
};`;
const CALLS = 12;
const owner = KEYS.publisher.address;

describe('routing of calls', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let invoke: (request: InvokeRequest) => Promise<ReceiptSummary>;
  before(async () => {
    house = await startSmallHouse();
    await house.restart({ clouds: bothClouds(house) });
    await publish('anywhere', {});
    await publish('cheap', { routing: { strategy: 'cheapest' } });
    await publish('elsewhere', { routing: { excludedRegions: ['us-east-1'] } });
    await publish('named', { providers: ['aws-lambda'] });
    await publish('hedged', { idempotent: true, routing: { hedge: true } }, SLOW_AT);
    const caller = await house.caller(KEYS.user, await house.openLane(KEYS.user));
    invoke = async (request) => {
      const { response, receipt } = await caller.invoke(request);
      assert.equal(await response.json(), receipt.provider);
      return receipt;
    };
  });
  after(() => house.close());

  const bothClouds = ({ aws, dir, chain }: SmallHouse): Config['clouds'] => {
    const { local } = readConfig({
      ...environmentOf(dir, chain),
      DEFAAS_LOCAL_ENABLED: '1',
      DEFAAS_LOCAL_TRUSTED_PUBLISHERS: owner,
    }).clouds;
    const credentials = { accessKeyId: 'emulator', secretAccessKey: 'well-known-test-key' };
    return {
      'aws-lambda': { endpoint: aws.endpoint, region: 'us-east-1', credentials },
      ...(local && { local }),
    };
  };
  const publish = async (
    name: string,
    manifest: Readonly<Record<string, unknown>>,
    handler = HANDLER,
  ) => {
    const version = `${await house.register(name, handler, manifest)}`;
    const session = await house.session(KEYS.publisher);
    const providers = ['aws-lambda', 'local'] as const;
    const { state } = await deploy(session, { owner, name, version, providers });
    assert.equal(state, 'live');
  };
  /** The clouds that so many calls came to. */
  const cloudsOf = async (name: string, request: Partial<InvokeRequest> = {}) => {
    const clouds = new Set<string>();
    for (let call = 0; call < CALLS; call += 1) {
      clouds.add((await invoke({ function: `${owner}/${name}`, ...request })).provider);
    }
    return [...clouds].sort();
  };

  it('follows the draw by default, and the version’s policy where it has one', async () => {
    assert.deepEqual(await cloudsOf('anywhere'), ['aws-lambda', 'local']);
    // The local provider costs nothing.
    assert.deepEqual(await cloudsOf('cheap'), ['local']);
    assert.deepEqual(await cloudsOf('elsewhere'), ['local']);
    assert.deepEqual(await cloudsOf('named'), ['aws-lambda']);
  });

  it('is narrowed and reordered by the call', async () => {
    const pinned = { routing: { providers: ['aws-lambda'] } };
    const cheapest = { routing: { strategy: 'cheapest' } } as const;
    const away = { routing: { excludedRegions: ['us-east-1', 'else'] } };

    assert.deepEqual(await cloudsOf('anywhere', pinned), ['aws-lambda']);
    assert.deepEqual(await cloudsOf('cheap', pinned), ['aws-lambda']);
    assert.deepEqual(await cloudsOf('anywhere', cheapest), ['local']);
    assert.deepEqual(await cloudsOf('anywhere', away), ['local']);
  });

  it('refuses a call for which no cloud is left, in one line and uncharged', async () => {
    const before = await invoke({ function: `${owner}/cheap` });
    const outside = invoke({ function: `${owner}/named`, routing: { providers: ['local'] } });
    await assert.rejects(outside, { code: 'ROUTING_EXCLUDES_ALL', status: 409 });
    const unknown = invoke({ function: `${owner}/named`, routing: { providers: ['mars'] } });
    await assert.rejects(unknown, { code: 'REQUEST_INVALID', status: 400 });
    const after = await invoke({ function: `${owner}/cheap` });

    assert.equal(after.seq, before.seq + 1);
  });

  it('answers from a second cloud when the first is slow, and charges once', async () => {
    const ask = (path: string, clouds: readonly string[]) =>
      invoke({ function: `${owner}/hedged`, path, routing: { providers: clouds } });
    const clouds = ['aws-lambda', 'local'];
    for (let call = 0; call < 80; call += 1) await ask('/', [clouds[call % 2] ?? '']);
    let { seq } = await ask('/', clouds);
    let attempts: { deployment: number; code: string }[] = [];
    // The draw decides which cloud is asked first: soon it is the slow one.
    while (!attempts.some(({ code }) => code === 'HEDGED')) {
      const receipt = await ask('/?slow=aws-lambda', clouds);
      seq += 1;
      assert.deepEqual([receipt.provider, receipt.seq], ['local', seq]);
      const document = await fetch(`${house.url()}/receipts/${receipt.id}`);
      ({ attempts } = await document.json());
    }

    assert.equal(attempts.length, 1);
  });

  it('writes pages that account for every place of the draw', async () => {
    await settle(await house.session(KEYS.gateway));
    const { connection } = await house.session(KEYS.user);
    await house.view.synced(house.gateway().chain.view.head.number);

    const { findings, receipts, proven } = await audit({
      view: house.view.view,
      domain: house.view.domain,
      getBlock: (cid) => fetchBlock(connection, cid),
    });

    assert.deepEqual(findings, []);
    assert.ok(receipts > 8 * CALLS && proven === receipts);
  });
});
