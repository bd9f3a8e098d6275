// A client and an auditor in Python, written from docs/protocol.md alone, at a gateway of ours:
// they sign in, pay, check what they get, and rebuild what is settled.
import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fetchBlock } from '../../broker/client/artifacts.ts';
import { encodeBatch, readBatch } from '../../broker/client/batch.ts';
import type { BatchReceipt } from '../../broker/client/batch-format.ts';
import type { Connection } from '../../broker/client/connection.ts';
import { STEP_UNITS } from '../../broker/client/invoke.ts';
import { settle } from '../../broker/client/settlement.ts';
import { cidOf } from '../../contracts/libraries/names.ts';
import { hashExecution } from '../../contracts/libraries/receipts.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../broker/small-house.ts';
import { PAGE, readExamples } from '../docs/protocol-page.ts';
import { describeInPython, type Printed, reason, run } from './python.ts';

const DAG_CBOR = 0x71;
const GREETER = `export default async (request) => new Response('Hello from ' + new URL(request.url).pathname);`;
const VECTORS = [
  'draw.json',
  'ordered-merkle.json',
  'receipts.json',
  'tariffs.json',
  'typed-data.json',
];
const TARIFF = { perCall: 30_000, perGiBSecond: 4_000, maxPrice: 50_000, publisherBps: 1_500 };
const BROKEN = `export default () => { throw new Error('no'); };`;

describeInPython(`a client and an auditor in Python${reason}`, function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let connection: Connection;
  let paid: Printed;
  let signedKey: typeof KEYS.user;
  let laneKey: typeof KEYS.user;
  let hello: string;
  let place: object;
  let receipts: string[];

  before(async () => {
    house = await startSmallHouse();
    connection = await house.connect();
    hello = await house.publish('hello', GREETER, { tariff: TARIFF });
    const broken = await house.publish('broken', BROKEN);
    laneKey = await house.openLane(KEYS.user);
    signedKey = await house.openLane(KEYS.user, 5_000_000n, 'signed');
    const { token, deployedAtBlock, ...contracts } = house.chain.contracts;
    place = {
      url: house.url(),
      rpcUrl: house.chain.url,
      chainId: house.trust.chainId,
      contracts: { ...contracts, token },
      fromBlock: deployedAtBlock,
      gateway: house.account,
    };
    paid = await run('main.py', ['pay'], {
      place,
      payer: KEYS.user.address,
      laneKey: laneKey.privateKey,
      signedLaneKey: signedKey.privateKey,
      payerKey: KEYS.user.privateKey,
      function: hello,
      failing: broken,
    });
    receipts = paid.lanes.flatMap((lane: Printed) =>
      lane.receipts.map(({ document }: Printed) => document.id),
    );
    await settle(await house.session(KEYS.gateway));
    // A second batch of the same lane: its claim goes on from the first one's.
    const caller = await house.caller(KEYS.user, signedKey, undefined, 'signed');
    const { receipt } = await caller.invoke({ function: hello });
    receipts.push(receipt.id);
    await settle(await house.session(KEYS.gateway));
  });
  after(() => house?.close());

  it('compute every example of the page', async () => {
    const { examples } = await run('examples.py', [PAGE]);

    assert.deepEqual(
      examples,
      readExamples().map(({ name }) => name),
    );
  });

  it('compute the vectors that hold our contracts and their TypeScript together', async () => {
    const counts = await run('vectors.py', [PAGE, 'test/vectors']);

    assert.deepEqual(Object.keys(counts).toSorted(), VECTORS);
    for (const [file, count] of Object.entries<number>(counts)) assert.ok(count > 10, file);
  });

  it('sign in, pay through all kinds of lanes and tokens, and check each receipt', () => {
    const [prepaid, signed] = paid.lanes;
    const statusOf = ({ document }: Printed) => document.execution.status;

    assert.equal(paid.replayed, true);
    assert.equal(paid.failed, 'FUNCTION_FAILED');
    assert.deepEqual(paid.service, ['MANDATE_EMPTY', 200]);
    assert.deepEqual([paid.mandate.status, paid.mandate.beyond], [200, 'MANDATE_EMPTY']);
    assert.equal(paid.refused, 'LANE_UNKNOWN');
    assert.deepEqual(prepaid.receipts.map(statusOf), [200, 200, 0, 200, 200, 200]);
    assert.equal(prepaid.receipts.at(-1).document.call.authority, paid.mandate.hash);
    assert.deepEqual(signed.receipts.map(statusOf), [200, 200]);
    // Beyond the first step: it has signed again after it had checked.
    assert.ok(BigInt(prepaid.verifiedUnits) > STEP_UNITS);
    for (const { signed: ceiling, verifiedUnits } of [prepaid, signed]) {
      assert.ok(BigInt(verifiedUnits) > 0n && BigInt(verifiedUnits) <= BigInt(ceiling));
    }
  });

  it('refuse a receipt when anything in it was changed', async () => {
    const [found] = paid.lanes[0].receipts;
    const other = paid.lanes[0].receipts[1];
    const change = (make: (copy: Printed) => void) => {
      const copy = structuredClone({ document: found.document, call: found.call });
      make(copy);
      return copy;
    };
    const flip = (hex: string) => hex.replace(/.$/, (last) => (last === '0' ? '1' : '0'));
    const more = (units: string) => `${BigInt(units) + 1n}`;
    const { seq, cumulative } = found.document.receipt;

    const verdicts = await run('main.py', ['verify'], {
      place,
      payer: KEYS.user.address,
      laneKey: laneKey.privateKey,
      cases: {
        honest: change(() => {}),
        price: change(({ document: { receipt } }) => {
          receipt.price = more(receipt.price);
        }),
        cumulative: change(({ document: { receipt } }) => {
          receipt.cumulative = more(receipt.cumulative);
        }),
        call: change(({ document: { call } }) => {
          call.nonce = flip(call.nonce);
        }),
        execution: change(({ document: { execution } }) => {
          execution.billedMs += 1;
        }),
        id: change(({ document }) => {
          document.id = other.document.id;
        }),
        root: change(({ document: { group } }) => {
          group.root = flip(group.root);
        }),
        place: change(({ document: { group } }) => {
          group.path.push(group.root);
        }),
        signature: change(({ document: { group } }) => {
          group.signature = group.signature.replace(/^0x../, '0x00');
        }),
        salt: change(({ document }) => {
          document.salt = flip(document.salt);
        }),
        unsalted: change(({ document }) => {
          delete document.salt;
        }),
        body: change(({ call }) => {
          call.sent.body = btoa('{"name":"Bob"}');
        }),
        answer: change(({ call }) => {
          call.answer.body = btoa('Goodbye');
        }),
        gap: { ...change(() => {}), after: [seq, Number(cumulative)] },
        // Under the gateway's own signature: the lane is stopped.
        sum: { ...change(() => {}), after: [seq - 1, 1] },
        time: change(({ call }) => {
          call.elapsedMs = 0;
        }),
      },
    });

    const { honest, sum, time, ...tampered } = verdicts;
    assert.equal(honest, null);
    assert.deepEqual([sum.stops, time.stops], [true, true]);
    for (const [name, verdict] of Object.entries<Printed>(tampered)) {
      assert.equal(verdict?.stops, false, `${name}: ${verdict?.why}`);
    }
  });

  it('rebuild the settled batches from the chain and the gateway’s blocks, and find their receipts in them', async () => {
    const batches = house.view.view.batches(house.account);

    const audited = await run('main.py', ['audit'], { place, receipts });

    assert.deepEqual(audited.missing, []);
    assert.deepEqual(
      audited.batches,
      batches.map(({ batch, root, claims }) => ({
        batch,
        root,
        receipts: claims.reduce((sum, { seq, seqFrom }) => sum + seq - seqFrom, 0),
        findings: [],
      })),
    );
    assert.deepEqual([batches.length, batches[0]?.claims.length], [2, 2]);
  });

  it('check the signed voucher of a payee', async () => {
    const payee = KEYS.publisher.address;

    const checked = await run('main.py', ['payouts'], { place, payee });

    const { voucher } = await (await connection.request(`/payouts/${payee}`)).json();
    assert.deepEqual(checked, { voucher: voucher.cumulativeUnits, isInForce: true });
  });

  describe('at a source of blocks that lies', () => {
    let server: Server;
    let blocksAt: string;
    let change: (cid: string, bytes: Uint8Array) => Uint8Array | undefined;
    const forged = new Map<string, Uint8Array>();

    before(async () => {
      server = createServer(async (request, response) => {
        const [, cid = ''] = /^\/ipfs\/(\w+)\?format=raw$/.exec(request.url ?? '') ?? [];
        const bytes = forged.get(cid) ?? (await fetchBlock(connection, cid));
        const given = change(cid, bytes);
        response.writeHead(given ? 200 : 404).end(given);
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      // Safe: it listens on a port.
      blocksAt = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    });
    beforeEach(() => {
      change = (_, bytes) => bytes;
    });
    after(() => server?.close());

    const refusalOf = async (rootCid?: string) => {
      const options = { place, receipts, blocksAt, ...(rootCid && { rootCid }) };
      const { batches, missing: unseen } = await run('main.py', ['audit'], options);
      return { refused: batches[0].refused, missing: unseen.length };
    };
    const firstRoot = () =>
      cidOf(DAG_CBOR, house.view.view.batches(house.account)[0]?.cidDigest ?? '0x');

    it('refuse a page with one byte changed, and one that is withheld', async () => {
      const root = firstRoot();
      change = (cid, bytes) => (cid === root ? bytes : bytes.with(-1, (bytes.at(-1) ?? 0) ^ 1));
      const altered = await refusalOf();
      change = (cid, bytes) => (cid === root ? bytes : undefined);
      const withheld = await refusalOf();

      assert.equal(altered.refused, 'BATCH_BLOCK_ALTERED');
      assert.equal(withheld.refused, 'BATCH_BLOCK_MISSING');
      assert.deepEqual([altered.missing, withheld.missing], [receipts.length, receipts.length]);
    });

    it('refuse a well-formed batch in which one receipt differs from the settled one', async () => {
      const batch = await readBatch(firstRoot(), (cid) => fetchBlock(connection, cid));
      const forge = async (billedMs: number, dropped: number) => {
        const lanes = await Promise.all(
          batch.lanes.map(async (lane) => {
            const changed: BatchReceipt[] = [];
            for await (const item of lane.receipts()) {
              const execution = { ...item.execution, billedMs: item.execution.billedMs + billedMs };
              const receipt = { ...item.receipt, execution: hashExecution(execution) };
              changed.push({ ...item, execution, receipt });
            }
            return { claim: lane.claim, receipts: changed.slice(dropped) };
          }),
        );
        const put = ({ cid, bytes }: { cid: string; bytes: Uint8Array }) =>
          void forged.set(cid, bytes);
        return (await encodeBatch({ header: batch.header, lanes, put })).root;
      };

      const same = await refusalOf(await forge(0, 0));
      const dearer = await refusalOf(await forge(1, 0));
      const fewer = await refusalOf(await forge(0, 1));

      assert.deepEqual([same.refused, same.missing], [undefined, 1]);
      assert.equal(dearer.refused, 'LANE_ROOT_MISMATCH');
      assert.equal(fewer.refused, 'RECEIPT_MISSING');
    });
  });
});
