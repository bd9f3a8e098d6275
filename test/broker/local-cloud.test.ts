// The gateway's own machine as one of its clouds: configured, announced, called, there again after
// a restart, and closed to publishers whom nobody trusts where there is no sandbox.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { trustCode } from '../../adapters/runtime/isolation.ts';
import { deploy } from '../../broker/client/deployments.ts';
import { type Config, readConfig } from '../../broker/config.ts';
import { DefaasError } from '../../broker/errors.ts';
import { environmentOf, KEYS, type SmallHouse, startSmallHouse } from './small-house.ts';

const HANDLER = 'export default (_, context) => context.provider;';

describe('this machine as a cloud', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let environment: Record<string, string>;
  before(async () => {
    house = await startSmallHouse();
    environment = { ...environmentOf(house.dir, house.chain), DEFAAS_LOCAL_ENABLED: '1' };
    await house.register('here', HANDLER);
  });
  after(() => house.close());

  const clouds = (more: Record<string, string> = {}): Config['clouds'] =>
    readConfig({ ...environment, ...more }).clouds;
  const deployHere = async () => {
    const session = await house.session(KEYS.publisher);
    const owner = KEYS.publisher.address;
    return deploy(session, { owner, name: 'here', version: '1', providers: ['local'] });
  };

  it('refuses the code of others where there is no sandbox', async () => {
    const { local } = clouds();
    assert.ok(local);
    const isolation = trustCode(join(house.dir, 'isolation'), 'as a test');
    await house.restart({ clouds: { local: { ...local, isolation } } });

    const { document } = await house.connect();
    const done = await deployHere();

    assert.equal(document.isolation, 'trusted');
    assert.equal(done.state, 'failed');
    assert.equal(done.providers[0]?.error?.code, 'PROVIDER_FORBIDDEN');
  });

  it('runs functions, also after a restart', async () => {
    const named = { DEFAAS_LOCAL_TRUSTED_PUBLISHERS: KEYS.publisher.address };
    await house.restart({ clouds: clouds(named) });

    const done = await deployHere();
    const lane = await house.openLane(KEYS.user);
    const call = async () => {
      const caller = await house.caller(KEYS.user, lane);
      const { response, receipt } = await caller.invoke({
        function: `${KEYS.publisher.address}/here`,
      });
      return [response.status, await response.json(), receipt.seq];
    };
    const before = await call();
    await house.restart({ clouds: clouds(named) });
    const after = await call();

    assert.equal(done.state, 'live');
    assert.deepEqual(before, [200, 'local', 1]);
    assert.deepEqual(after, [200, 'local', 2]);
  });

  it('is no cloud unless the operator configures it, and refuses a malformed list of trusted publishers', () => {
    assert.equal(clouds({ DEFAAS_LOCAL_ENABLED: '0' }).local, undefined);
    assert.deepEqual(clouds().local?.trustedPublishers, []);
    assert.equal(clouds({ DEFAAS_LOCAL_MEMORY_MIB: '512' }).local?.totalMemoryMiB, 512);
    assert.throws(
      () => clouds({ DEFAAS_LOCAL_TRUSTED_PUBLISHERS: 'everybody' }),
      (error) =>
        error instanceof DefaasError && error.message.includes('DEFAAS_LOCAL_TRUSTED_PUBLISHERS'),
    );
  });
});
