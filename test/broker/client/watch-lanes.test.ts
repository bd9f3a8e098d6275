// A client that runs for long: it signs for its lanes' mandates each day, and checks what gateways
// settle.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { createChainReader } from '../../../broker/client/chain-reader.ts';
import { heldOf } from '../../../broker/client/exhibits.ts';
import type { Found } from '../../../broker/client/find-frauds.ts';
import { createCaller } from '../../../broker/client/invoke.ts';
import { createLaneMemory } from '../../../broker/client/lane-memory.ts';
import {
  NO_SUBJECT,
  putMandate,
  SPONSOR_KIND,
  signMandate,
} from '../../../broker/client/mandates.ts';
import { createSession } from '../../../broker/client/session.ts';
import { watchLanes } from '../../../broker/client/watch-lanes.ts';
import { documentsIn, invent, pageOf } from '../forger.ts';
import { PRICE, startLyingGateway } from '../settlement/lying-gateway.ts';
import { functionIdIn, KEYS, startSmallHouse } from '../small-house.ts';

const SOURCE = resolve(import.meta.dirname, '../../../broker/client/watch-lanes.ts');
const HELLO = 'export default async () => new Response("hello");';

/** Runs the example in the docstring of `watchLanes`. */
function runExample(names: Readonly<Record<string, unknown>>): Promise<void> {
  const [, lines = ''] = /@example([^@]+?)\n \*\//.exec(readFileSync(SOURCE, 'utf8')) ?? [];
  const example = lines.replaceAll('\n *', '\n');
  const given = { watchLanes, ...names };
  const run = new Function(...Object.keys(given), `return (async () => { ${example} })();`);
  return run(...Object.values(given));
}

describe('watching lanes', function () {
  this.timeout(120_000);

  it('signs what the mandates allow at each look, and reports a lying gateway once', async () => {
    const house = await startSmallHouse();
    const ending = new AbortController();
    try {
      const tariff = { perCall: 20, perGiBSecond: 0, maxPrice: 20, roundMs: 1 };
      const fn = await house.publish('hello', HELLO, { tariff, payer: 'publisher' });
      const payer = KEYS.publisher;
      const lane = await house.openLane(payer);
      const name = { payer: payer.address, signer: lane.address };
      let isLying = false;
      const connection = await house.connect({
        fetch: async (input, init) => {
          const { url } = new Request(input, init);
          if (!isLying || !url.includes('/receipts?')) return fetch(input, init);
          const whole = await fetch(url.replace(/after=\d+/, 'after=0'), init);
          const honest = documentsIn(await whole.text());
          return new Response(pageOf(invent(house.view.domain, honest.at(-1) ?? assert.fail(), 3)));
        },
      });
      const session = await createSession({ connection, key: lane.privateKey, lane: name });
      const memory = createLaneMemory();
      const chain = createChainReader(connection.chain);
      const caller = createCaller({ session, memory, chain, stepUnits: 0n });
      const signed = await signMandate(connection, session.key, payer.address, {
        kind: SPONSOR_KIND,
        subject: NO_SUBJECT,
        functionId: functionIdIn(fn),
        maxPrice: 20n,
        perDay: 40n,
        total: 400n,
        untilSec: Math.floor(Date.now() / 1000) + 10 * 86_400,
        serial: 1n,
      });
      memory.putMandate(signed);
      await putMandate(connection, signed);
      const errors: unknown[] = [];
      const own = { gateway: house.account, ...name, caller };
      let looks = 0;
      const other = {
        gateway: house.account,
        ...name,
        caller: { renew: async () => void looks++ },
      };
      const call = async () => (await fetch(`${house.url()}/functions/${fn}`)).status;

      const before = await call();
      const watching = watchLanes({
        lanes: [own, other],
        everyMs: 1,
        signal: ending.signal,
        onFound: () => assert.fail(),
        onError: (error, at) => errors.push([error, at]),
      });
      while ((await call()) !== 200);
      while (memory.read().verifiedUnits < 20n) await new Promise(setImmediate);
      isLying = true;
      while (errors.length === 0) await new Promise(setImmediate);
      const then = looks;
      while (looks < then + 5) await new Promise(setImmediate);
      ending.abort();
      await watching;

      assert.equal(before, 402);
      const [told, ...others] = errors as [[{ code: string }, unknown]];
      assert.deepEqual([told[0].code, told[1], others], ['RECEIPT_INVALID', own, []]);
      assert.equal(memory.read().ceilingUnits, 40n);
    } finally {
      ending.abort();
      await house.close();
    }
  });

  it('reports each settled lie once, as its docstring shows, and nothing about other people’s lanes', async () => {
    const liar = await startLyingGateway();
    const ending = new AbortController();
    const { signal } = ending;
    try {
      const price = PRICE + 5n;
      const cumulative = liar.prepaid.settled + price;
      const { batch } = await liar.settle({ lies: { 0: { receipt: { price, cumulative } } } });
      const { items } = await liar.settle({});
      await liar.settle({ lane: liar.signed, excess: 7n });
      const { key, payer } = liar.prepaid;
      const gateway = liar.gateway.address;
      const found: Found[] = [];
      let looks = 0;
      const renew = async () => {
        looks += 1;
      };
      const names = {
        gateway,
        payer: payer.address,
        signer: key.address,
        caller: { renew },
        getBlock: () => liar.getBlock,
        signal,
        onFound: (one: Found) => void found.push(one),
        onError: (error: unknown) => assert.fail(String(error)),
      };
      const held = () => items.map(heldOf);

      await liar.hardhat.rpc('evm_increaseTime', [601]);
      await liar.hardhat.rpc('evm_mine', []);
      const first = runExample({ ...names, chain: liar.chain });
      while (found.length === 0) await new Promise(setImmediate);
      ending.abort();
      await first;
      const again = new AbortController();
      const lanes = [{ gateway, payer: payer.address, signer: key.address, caller: { renew } }];
      looks = 0;
      const everyMs = 1;
      const frauds = { chain: liar.chain, getBlock: () => liar.getBlock, held };
      const { onFound, onError } = names;
      const both = [...found];
      found.length = 0;
      const second = watchLanes({ lanes, frauds, everyMs, signal: again.signal, onFound, onError });
      while (looks < 4) await new Promise(setImmediate);
      again.abort();
      await second;

      for (const told of [both, found]) {
        const lies = told.map(({ evidence, damage }) => [
          evidence.kind,
          'place' in evidence && evidence.place.batch,
          damage,
        ]);
        assert.deepEqual(lies, [['overcharge', batch, 5n]]);
      }
    } finally {
      ending.abort();
      await liar.close();
    }
  });
});
