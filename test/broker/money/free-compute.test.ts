// A publisher that tries to compute for free: simultaneous failures, over HTTP, on a cloud that
// runs the code.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fetchReceipts } from '../../../broker/client/receipts.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';

const CALLS = 40;

describe('free compute', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  before(async () => {
    house = await startSmallHouse({ freeFailureMsPerHour: 3_000 });
  });
  after(() => house.close());

  it('is limited to four times the budget of 3 s for 40 simultaneous failures of 2 s', async () => {
    const witness = join(house.dir, 'witness');
    const name = await house.publish(
      'hang',
      `import { appendFileSync } from 'node:fs';
      export default async () => {
        appendFileSync(${JSON.stringify(witness)}, '.');
        await new Promise((resolve) => setTimeout(resolve, 60_000));
      };`,
      { payer: 'publisher', timeoutMs: 2_000 },
    );
    const well = await house.publish('well', 'export default async () => ({});');
    const sponsor = await house.caller(KEYS.publisher, await house.openLane(KEYS.publisher));
    await sponsor.invoke({ function: well });
    await sponsor.acknowledge();
    await house.sponsor(name);

    const replies = await Promise.all(
      Array.from({ length: CALLS }, () => fetch(`${house.url()}/functions/${name}`)),
    );

    const codes = await Promise.all(replies.map(async (reply) => (await reply.json()).code));
    const count = (...of: string[]): number => codes.filter((code) => of.includes(code)).length;
    // On a slow machine a run may end before its code begins, and fewer find room; never more.
    const failed = count('FUNCTION_TIMEOUT');
    assert.ok(failed >= 1 && failed <= 6, codes.join());
    assert.ok(readFileSync(witness, 'utf8').length <= 6, codes.join());
    assert.equal(count('FUNCTION_FAILING', 'RATE_LIMITED'), CALLS - failed, codes.join());
    await assert.rejects(sponsor.invoke({ function: well }), { code: 'FUNCTION_FAILING' });
  });
});

describe('an Execution', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  before(async () => {
    house = await startSmallHouse();
  });
  after(() => house.close());

  it('states the load time of the module for those calls that waited for it', async () => {
    const name = await house.publish(
      'slow',
      `for (const end = Date.now() + 50; Date.now() < end; );
      export default () => new Promise((resolve) => setTimeout(resolve, 300, 'loaded'));`,
    );
    const lane = await house.openLane(KEYS.user);
    const caller = await house.caller(KEYS.user, lane);

    await Promise.all([1, 2, 3].map(() => caller.invoke({ function: name })));
    await caller.acknowledge();
    const session = await house.session(lane, { payer: KEYS.user, signer: lane });
    const named = { payer: KEYS.user.address, signer: lane.address };
    const times: number[] = [];
    for await (const { execution } of fetchReceipts(session, named)) times.push(execution.initMs);

    assert.equal(times.length, 3);
    assert.ok(
      times.some((ms) => ms >= 50),
      times.join(),
    );
    assert.ok(
      times.every((ms) => ms === 0 || ms >= 50),
      times.join(),
    );
  });
});
