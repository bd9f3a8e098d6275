// The batch format: what is written is read back, pages keep their bound, and nothing malformed or
// altered gets through.
import assert from 'node:assert/strict';
import { decode, encode } from '@ipld/dag-cbor';
import fc from 'fast-check';
import { CID } from 'multiformats/cid';
import { sha256 } from 'multiformats/hashes/sha2';
import {
  type BatchBlock,
  batchCid,
  encodeBatch,
  type GetBlock,
  readBatch,
} from '../../../broker/client/batch.ts';
import type { LaneToEncode } from '../../../broker/client/batch-encode.ts';
import {
  type BatchHeader,
  type BatchReceipt,
  MAX_PAGE_BYTES,
} from '../../../broker/client/batch-format.ts';
import { type Hex, toHex } from '../../../contracts/libraries/keccak.ts';
import {
  type Claim,
  hashCall,
  hashExecution,
  NO_AUTHORITY,
} from '../../../contracts/libraries/receipts.ts';

const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }) =>
  fc.record(model, { noNullPrototype: true });
const hex = (bytes: number) =>
  fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((value) => toHex(value));
const uint = (bits: number) => fc.maxSafeNat().map((value) => value % 2 ** Math.min(bits, 53));
const money = fc.oneof(
  fc.bigInt({ min: 0n, max: 1000n }),
  fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }),
);
const text = fc
  .string({ unit: 'binary', maxLength: 256 })
  .map((value) => value.slice(0, 256).toWellFormed());

const headers: fc.Arbitrary<BatchHeader> = record({
  chainId: uint(53),
  billing: hex(20),
  gateway: hex(20),
  batch: uint(40),
  root: hex(32),
});

const claims: fc.Arbitrary<Claim> = record({
  payer: hex(20),
  signer: hex(20),
  settledFrom: money,
  settledTo: money,
  seqFrom: uint(40),
  seqTo: uint(40),
  receipts: hex(32),
});

const groupPlaces = record({
  root: hex(32),
  index: uint(32),
  count: uint(32),
  path: fc.array(hex(32), { maxLength: 32 }),
  signature: hex(65),
});

const attempts = fc
  .tuple(uint(32), uint(53), fc.constantFrom('no' as const, 'maybe' as const), text)
  .map(([measuredMs, deployment, ran, code]) => ({ deployment, ran, code, measuredMs }));

/** A receipt of this lane, or now and then one that names another, as a liar's batch may. */
function receiptsOf(header: BatchHeader, claim: Claim): fc.Arbitrary<BatchReceipt> {
  const own = { payer: claim.payer, gateway: header.gateway, signer: claim.signer };
  const lane = fc.oneof(
    { weight: 5, arbitrary: fc.constant(own) },
    record({ payer: hex(20), gateway: hex(20), signer: hex(20) }),
  );
  const call = fc
    .tuple(
      lane,
      record({
        nonce: hex(32),
        functionVersion: hex(32),
        input: hex(32),
        maxPrice: money,
        deadlineSec: uint(40),
        beacon: uint(53),
        authority: fc.oneof(fc.constant(NO_AUTHORITY), hex(32)),
      }),
    )
    .map(([named, rest]) => ({ ...named, ...rest }));
  const execution = record({
    deployment: uint(53),
    request: hex(32),
    billedMs: uint(32),
    initMs: uint(32),
    memoryMiB: uint(32),
    status: uint(16),
    input: hex(32),
    output: hex(32),
    finishedAtSec: uint(40),
  });
  const numbers = record({
    seq: uint(40),
    provider: hex(20),
    attempt: uint(8),
    atBlock: uint(53),
    price: money,
    cumulative: money,
  });
  return record({
    lane,
    call,
    execution,
    numbers,
    sameInput: fc.boolean(),
    callSignature: fc.option(hex(65), { nil: undefined }),
    group: groupPlaces,
    attempts: fc.array(attempts, { maxLength: 4 }),
    reason: fc.option(text, { nil: undefined }),
  }).map((made) => {
    const opened = made.sameInput ? { ...made.execution, input: made.call.input } : made.execution;
    return {
      receipt: {
        ...made.lane,
        ...made.numbers,
        call: hashCall(made.call),
        execution: hashExecution(opened),
      },
      call: made.call,
      execution: opened,
      ...(made.callSignature === undefined ? {} : { callSignature: made.callSignature }),
      group: made.group,
      attempts: made.attempts,
      ...(made.reason === undefined ? {} : { reason: made.reason }),
    };
  });
}

const batches = headers.chain((header) =>
  record({
    header: fc.constant(header),
    lanes: fc.array(
      claims.chain((claim) =>
        record({
          claim: fc.constant(claim),
          receipts: fc.array(receiptsOf(header, claim), { minLength: 1, maxLength: 5 }),
        }),
      ),
      { minLength: 1, maxLength: 3 },
    ),
  }),
);

async function write(header: BatchHeader, lanes: readonly LaneToEncode[]) {
  const blocks: BatchBlock[] = [];
  const { root, digest } = await encodeBatch({
    header,
    lanes,
    put: (block) => void blocks.push(block),
  });
  const byCid = new Map(blocks.map((block) => [block.cid, block.bytes]));
  const getBlock: GetBlock = async (cid) => {
    const bytes = byCid.get(cid);
    if (!bytes) throw new Error('not here');
    return bytes;
  };
  return { root, digest, blocks, byCid, getBlock };
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

async function readAll(root: string, getBlock: GetBlock) {
  const batch = await readBatch(root, getBlock);
  const lanes = [];
  for (const lane of batch.lanes) {
    lanes.push({ claim: lane.claim, receipts: await collect(lane.receipts()) });
  }
  return { header: batch.header, lanes };
}

/**
 * One lane with `count` receipts, groups of `perGroup` in a row, paths as long as those groups
 * need.
 */
function longLane(count: number, perGroup: number) {
  const header: BatchHeader = {
    chainId: 31337,
    billing: `0x${'b1'.repeat(20)}`,
    gateway: `0x${'9a'.repeat(20)}`,
    batch: 7,
    root: `0x${'12'.repeat(32)}`,
  };
  const lane = { payer: `0x${'aa'.repeat(20)}` as const, signer: `0x${'bb'.repeat(20)}` as const };
  const claim: Claim = {
    ...lane,
    settledFrom: 0n,
    settledTo: BigInt(count) * 25n,
    seqFrom: 0,
    seqTo: count,
    receipts: `0x${'34'.repeat(32)}`,
  };
  const word = (value: number): Hex => `0x${value.toString(16).padStart(64, '0')}`;
  const path = Array.from({ length: Math.ceil(Math.log2(perGroup)) }, (_, level) => word(level));
  const receiptAt = (index: number): BatchReceipt => {
    const call = {
      ...lane,
      gateway: header.gateway,
      nonce: word(index),
      functionVersion: word(1),
      input: word(index),
      maxPrice: 100_000n,
      deadlineSec: 1_800_000_000,
      beacon: 12,
      authority: word(0),
    };
    const execution = {
      deployment: 3,
      request: word(index + 1),
      billedMs: 12,
      initMs: 3,
      memoryMiB: 128,
      status: 200,
      input: word(index),
      output: word(index + 2),
      finishedAtSec: 1_799_999_999,
    };
    return {
      receipt: {
        ...lane,
        gateway: header.gateway,
        seq: index + 1,
        call: hashCall(call),
        execution: hashExecution(execution),
        provider: `0x${'cc'.repeat(20)}`,
        attempt: 0,
        atBlock: 99,
        price: 25n,
        cumulative: BigInt(index + 1) * 25n,
      },
      call,
      execution,
      group: {
        root: word(Math.floor(index / perGroup)),
        index: index % perGroup,
        count: perGroup,
        path,
        signature: `0x${Math.floor(index / perGroup)
          .toString(16)
          .padStart(130, '0')}`,
      },
      attempts: [],
    };
  };
  return { header, claim, receiptAt };
}

describe('the batch format', () => {
  it('reads back what it wrote, and writes the same blocks again', async () => {
    await fc.assert(
      fc.asyncProperty(batches, async ({ header, lanes }) => {
        const written = await write(header, lanes);

        const read = await readAll(written.root, written.getBlock);

        assert.deepEqual(read, { header, lanes });
        assert.equal(batchCid(written.digest), written.root);
        assert.equal((await write(header, read.lanes)).root, written.root);
      }),
      { numRuns: 100 },
    );
  });

  it('keeps every page within its bound and well filled, with each group signature once a page', async () => {
    const { header, claim, receiptAt } = longLane(3000, 64);
    const receipts = Array.from({ length: 3000 }, (_, index) => receiptAt(index));

    const { root, blocks, getBlock } = await write(header, [{ claim, receipts }]);

    const pages = blocks.filter((block) => block.cid !== root);
    assert.ok(pages.length > 1);
    for (const [index, page] of pages.entries()) {
      assert.ok(page.bytes.length <= MAX_PAGE_BYTES);
      const isLast = index === pages.length - 1;
      assert.ok(isLast || page.bytes.length > 0.8 * MAX_PAGE_BYTES, `${page.bytes.length}`);
      const opened = decode<{ groups: unknown[]; receipts: unknown[] }>(page.bytes);
      assert.ok(opened.groups.length <= Math.ceil(opened.receipts.length / 64) + 1);
    }
    const { lanes } = await readAll(root, getBlock);
    assert.deepEqual(
      lanes[0]?.receipts.map((item) => item.receipt.seq),
      receipts.map((item) => item.receipt.seq),
    );
  });

  it('streams: it hands a page over before it asks for the receipts after it', async () => {
    const { header, claim, receiptAt } = longLane(3000, 1);
    let asked = 0;
    const askedAtPage: number[] = [];
    async function* receipts() {
      for (; asked < 3000; asked += 1) yield receiptAt(asked);
    }

    await encodeBatch({
      header,
      lanes: [{ claim, receipts: receipts() }],
      put: () => void askedAtPage.push(asked),
    });

    assert.ok(askedAtPage.length >= 3);
    assert.ok((askedAtPage[0] ?? 0) < 2000);
  });

  it('names a block that is missing, and one that was altered', async () => {
    const { header, claim, receiptAt } = longLane(3, 1);
    const receipts = [0, 1, 2].map(receiptAt);
    const { root, blocks, byCid, getBlock } = await write(header, [{ claim, receipts }]);
    const page = blocks[0]?.cid ?? '';

    byCid.set(
      page,
      Uint8Array.from(byCid.get(page) ?? [], (byte) => byte ^ 1),
    );
    await assert.rejects(readAll(root, getBlock), { code: 'BATCH_BLOCK_ALTERED' });
    byCid.delete(page);
    await assert.rejects(readAll(root, getBlock), { code: 'BATCH_BLOCK_MISSING' });
    byCid.delete(root);
    await assert.rejects(readBatch(root, getBlock), { code: 'BATCH_BLOCK_MISSING' });
  });

  it('refuses a receipt that does not hash the Call beside it', async () => {
    const { header, claim, receiptAt } = longLane(1, 1);
    const item = receiptAt(0);
    const other = { ...item, call: { ...item.call, maxPrice: 1n } };

    await assert.rejects(write(header, [{ claim, receipts: [other] }]), {
      code: 'BATCH_INCONSISTENT',
    });
  });

  it('refuses more lanes than a transaction takes', async () => {
    const { header, claim, receiptAt } = longLane(1, 1);
    const lanes = Array.from({ length: 257 }, () => ({ claim, receipts: [receiptAt(0)] }));

    await assert.rejects(write(header, lanes), { code: 'BATCH_TOO_LARGE' });
  });

  it('refuses a root block that repeats one page, before it reads any page', async () => {
    const { header, claim, receiptAt } = longLane(1, 2);
    const { root, byCid } = await write(header, [{ claim, receipts: [receiptAt(0)] }]);
    const { lanes, ...rest } = decode<{ lanes: [unknown, unknown[]][] }>(
      byCid.get(root) ?? assert.fail(),
    );
    const [[row, [page]] = assert.fail()] = lanes;
    for (const repeated of [
      [[row, [page, page]]],
      [
        [row, [page]],
        [row, [page]],
      ],
    ]) {
      const bytes = encode({ ...rest, lanes: repeated });
      const cid = CID.createV1(0x71, await sha256.digest(bytes)).toString();

      await assert.rejects(
        readBatch(cid, async () => bytes),
        { code: 'BATCH_MALFORMED' },
      );
    }
  });

  it('refuses a page with any one value of a wrong form', async () => {
    const { header, claim, receiptAt } = longLane(1, 2);
    const item = {
      ...receiptAt(0),
      attempts: [{ deployment: 1, ran: 'no' as const, code: 'X', measuredMs: 9 }],
    };
    const { root, byCid } = await write(header, [{ claim, receipts: [item] }]);
    const paths = leafPaths(await tree(root, byCid));

    for (const path of paths) {
      const forged = await forge(root, byCid, path);
      await assert.rejects(
        readAll(forged.root, forged.getBlock),
        { code: 'BATCH_MALFORMED' },
        path.join('.'),
      );
    }

    assert.ok(paths.length > 40);
  });
});

type Tree = { root: Record<string, unknown>; page: Record<string, unknown> };

async function tree(root: string, byCid: Map<string, Uint8Array>): Promise<Tree> {
  const opened = decode<{ lanes: [unknown, CID[]][] }>(byCid.get(root) ?? new Uint8Array());
  const page = opened.lanes[0]?.[1][0]?.toString() ?? '';
  return { root: { ...opened }, page: decode(byCid.get(page) ?? new Uint8Array()) };
}

function leafPaths(value: unknown, path: string[] = []): string[][] {
  const isBranch = typeof value === 'object' && value !== null && !(value instanceof Uint8Array);
  if (!isBranch || CID.asCID(value)) return [path];
  return Object.entries(value).flatMap(([key, item]) => leafPaths(item, [...path, key]));
}

/**
 * The same batch with one value replaced by `true`, which stands nowhere in the format; CIDs are
 * made anew, so only the form is wrong.
 */
async function forge(root: string, byCid: Map<string, Uint8Array>, path: string[]) {
  const opened = await tree(root, byCid);
  let at: unknown = opened;
  for (const key of path.slice(0, -1)) at = Reflect.get(at as object, key);
  Reflect.set(at as object, path.at(-1) ?? '', true);
  const page = encode(opened.page);
  const cid = CID.createV1(0x71, await sha256.digest(page));
  const lanes = opened.root.lanes;
  if (path[0] === 'page' && Array.isArray(lanes)) lanes[0][1] = [cid];
  const top = encode(opened.root);
  const forgedRoot = CID.createV1(0x71, await sha256.digest(top)).toString();
  const blocks = new Map([...byCid, [cid.toString(), page], [forgedRoot, top]]);
  const getBlock: GetBlock = async (wanted) => blocks.get(wanted) ?? assert.fail(`no ${wanted}`);
  return { root: forgedRoot, getBlock };
}
