// A gateway that settles by itself, on a real chain, and lies as it is told: for tests of whoever
// watches gateways. Its pages can be had over HTTP, where it has registered itself.
import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { batchCid, encodeBatch } from '../../../broker/client/batch.ts';
import type { BatchReceipt } from '../../../broker/client/batch-format.ts';
import type { Epoch } from '../../../contracts/chain/types.ts';
import { createKey, type Key } from '../../../contracts/keystore.ts';
import { drawOrder, drawSeed } from '../../../contracts/libraries/draw.ts';
import type { Address, Hex } from '../../../contracts/libraries/keccak.ts';
import { CODECS, cidOf } from '../../../contracts/libraries/names.ts';
import { createTree, rootOf } from '../../../contracts/libraries/ordered-merkle.ts';
import {
  type Call,
  type Claim,
  type Execution,
  hashCall,
  hashClaim,
  hashExecution,
  hashReceipt,
  NO_AUTHORITY,
  type Receipt,
} from '../../../contracts/libraries/receipts.ts';
import { splitPrice } from '../../../contracts/libraries/tariffs.ts';
import {
  hashReceiptGroup,
  hashSignedCall,
  hashVoucher,
} from '../../../contracts/libraries/typed-data.ts';
import { signDigest } from '../../../contracts/signatures.ts';
import { startHardhatChain, testKey } from '../../contracts/hardhat-chain.ts';

const UNIT = 1_000_000n;
const PREPAID = 1;
const SIGNED = 2;
const PUBLISHER_BPS = 1_500;
/**
 * Of an honest call here: perCall 20, and 128 MiB for 100 ms at 40 per GiB and second, rounded up.
 */
export const PRICE = 21n;
export const COUNT = 5;
export const stranger = createKey();
export const PASSED = { ran: 'no', code: 'CIRCUIT_OPEN', measuredMs: 0 } as const;
export const word = (byte: string): Hex => `0x${byte.repeat(32)}`;

export interface Lane {
  readonly payer: Key;
  readonly key: Key;
  readonly mode: 1 | 2;
  settled: bigint;
  seq: number;
  nonce: bigint;
}

/** What a gateway may do to one receipt before it numbers and signs it. */
export interface Lie {
  readonly call?: Partial<Call>;
  readonly execution?: Partial<Execution>;
  readonly receipt?: Partial<Receipt>;
  readonly attempts?: BatchReceipt['attempts'];
  readonly callKey?: Key | undefined;
  readonly groupKey?: Key;
  /** Place in the drawn order that runs the call. */
  readonly place?: number;
}

/** What a gateway may do to a batch. */
export interface Plan {
  readonly lane?: Lane;
  /** Receipts; `COUNT` when left out. */
  readonly count?: number;
  /** For the receipt at this index. */
  readonly lies?: Readonly<Record<number, Lie>>;
  /** Changes the receipts in the lane tree and on the pages. */
  readonly commit?: (items: BatchReceipt[]) => BatchReceipt[];
  /** Changes the pages only. */
  readonly show?: (items: BatchReceipt[]) => BatchReceipt[];
  readonly pay?: (payouts: Map<Address, bigint>) => Map<Address, bigint>;
  /** Taken above the sum of the receipts, base units. */
  readonly excess?: bigint;
  readonly header?: { readonly batch?: number; readonly gateway?: Address };
  readonly claim?: (claim: Claim) => Claim;
}

export interface Settlement {
  readonly batch: number;
  /** Base units that the batch took. */
  readonly total: bigint;
  readonly cid: string;
  /** The receipts in the lane tree. */
  readonly items: readonly BatchReceipt[];
}

export type LyingGateway = Awaited<ReturnType<typeof startLyingGateway>>;

/**
 * Registered, bonded with 5 000 tokens, with a prepaid lane of account 4 and a signed one of
 * account 6.
 */
export async function startLyingGateway() {
  const hardhat = await startHardhatChain();
  const chain = await hardhat.open();
  const publisher = chain.connect(testKey(1));
  const gateway = chain.connect(testKey(2));
  const settler = chain.connect(testKey(3));
  const provider = chain.connect(testKey(5));
  const operator = createKey();
  const { functionId } = await publisher.register('hello');
  const { functionVersion } = await publisher.publish(functionId, TERMS, true);
  const other = await publisher.publish(functionId, { ...TERMS, memoryMiB: 256 }, true);
  const blocks = new Map<string, Uint8Array>();
  const server = await serveBlocks(blocks);
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const party = { uri: url, jwksThumbprint: word('00') };
  await gateway.registerParty({ ...party, roles: 3 });
  await provider.registerParty({ ...party, roles: 2 });
  await gateway.addKey(operator.privateKey, 1);
  await gateway.mintMock(10_000n * UNIT);
  await gateway.bond(gateway.address, 5_000n * UNIT);
  await gateway.setSettler(settler.address);
  const ids: number[] = [];
  for (const region of ['a', 'b', 'c', 'd']) {
    ids.push(await provider.enrol(functionVersion, 'aws-lambda', region));
  }
  const otherDeployment = await provider.enrol(other.functionVersion, 'aws-lambda', 'a');
  await gateway.setCandidates(functionVersion, ids);
  await hardhat.rpc('hardhat_mine', ['0x3']);
  await chain.synced();
  const olderEpoch = await checkpoint();
  const epoch = await checkpoint();
  const prepaid = await openLane(testKey(4), PREPAID);
  const signed = await openLane(testKey(6), SIGNED);

  return {
    ...{
      hardhat,
      chain,
      gateway,
      settler,
      provider,
      publisher,
      operator,
      prepaid,
      signed,
      functionVersion,
      ids,
    },
    ...{ otherDeployment, epoch, olderEpoch, blocks, url, openLane, serve, group, settle },
    getBlock: async (cid: string) => blocks.get(cid) ?? assert.fail(`no block ${cid}`),
    close: async () => {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
      await hardhat.close();
    },
  };

  async function checkpoint(): Promise<Epoch> {
    const height = chain.view.head.number - 1;
    await chain.synced(await gateway.checkpoint(height));
    return chain.view.epochOf(height) ?? assert.fail('no epoch');
  }

  async function openLane(payer: Key, mode: 1 | 2): Promise<Lane> {
    const key = createKey();
    const writer = chain.connect(payer);
    await writer.mintMock(100n * UNIT);
    const expirySec = chain.view.head.timestampSec + 30 * 86_400;
    const lane = { signer: key.address, cap: 50n * UNIT, expirySec, mode };
    const terms = { amount: 50n * UNIT, gateway: gateway.address, lane };
    await chain.synced(await writer.depositAllotOpenLane(terms));
    return { payer, key, mode, settled: 0n, seq: 0, nonce: 0n };
  }

  /** An honest receipt, but for the lie. */
  function serve(lane: Lane, index: number, before: bigint, lie: Lie): Omit<BatchReceipt, 'group'> {
    const named = {
      payer: lane.payer.address,
      gateway: gateway.address,
      signer: lane.key.address,
    };
    lane.nonce += 1n;
    const nowSec = epoch.timeSec + 5;
    const call: Call = {
      ...named,
      nonce: `0x${lane.nonce.toString(16).padStart(64, '0')}`,
      functionVersion,
      input: word('11'),
      maxPrice: 1_000n,
      deadlineSec: nowSec + 60,
      beacon: epoch.epoch,
      authority: NO_AUTHORITY,
      ...lie.call,
    };
    const drawn = call.beacon === olderEpoch.epoch ? olderEpoch : epoch;
    const order = drawOrder(drawSeed(drawn.value, call), ids);
    const execution: Execution = {
      deployment: order[lie.place ?? 0] ?? 0,
      request: word('22'),
      billedMs: 100,
      initMs: 0,
      memoryMiB: 128,
      status: 200,
      input: call.input,
      output: word('33'),
      finishedAtSec: nowSec,
      ...lie.execution,
    };
    const price = lie.receipt?.price ?? (execution.status === 0 ? 0n : PRICE);
    const receipt: Receipt = {
      ...named,
      seq: lane.seq + 1 + index,
      call: hashCall(call),
      execution: hashExecution(execution),
      provider: provider.address,
      attempt: lie.place ?? 0,
      atBlock: chain.view.head.number,
      price,
      cumulative: before + price,
      ...lie.receipt,
    };
    const callKey = 'callKey' in lie ? lie.callKey : lane.key;
    const isSigned = lane.mode === SIGNED && callKey;
    return {
      receipt,
      call,
      execution,
      ...(isSigned && {
        callSignature: signDigest(callKey.privateKey, hashSignedCall(chain.domain, call)),
      }),
      attempts:
        lie.attempts ??
        order.slice(0, receipt.attempt).map((deployment) => ({ deployment, ...PASSED })),
      ...(execution.status === 0 && { reason: 'threw' }),
    };
  }

  /** Receipts in groups of two, as a busy and an idle gateway make them. */
  function group(
    items: readonly Omit<BatchReceipt, 'group'>[],
    keys: readonly Key[],
  ): BatchReceipt[] {
    return items.map((item, index) => {
      const start = index - (index % 2);
      const hashes = items.slice(start, start + 2).map(({ receipt }) => hashReceipt(receipt));
      const tree = createTree(hashes);
      const { root, count } = tree;
      const digest = hashReceiptGroup(chain.domain, { gateway: gateway.address, root, count });
      const signature = signDigest((keys[start] ?? operator).privateKey, digest);
      const place = { root, count, index: index - start, path: tree.path(index - start) };
      return { ...item, group: { ...place, signature } };
    });
  }

  /**
   * Serves, settles on the chain and puts the pages away, lying as planned. Gives the batch's
   * number and what it took.
   */
  async function settle(plan: Plan = {}): Promise<Settlement> {
    const { lane = prepaid, count = COUNT } = plan;
    const bare: Omit<BatchReceipt, 'group'>[] = [];
    let sum = lane.settled;
    for (let index = 0; index < count; index += 1) {
      const item = serve(lane, index, sum, plan.lies?.[index] ?? {});
      bare.push(item);
      sum = item.receipt.cumulative;
    }
    const keys = bare.map((_, index) => plan.lies?.[index]?.groupKey ?? operator);
    const items = (plan.commit ?? ((same) => same))(group(bare, keys));
    const claim: Claim = {
      payer: lane.payer.address,
      signer: lane.key.address,
      settledFrom: lane.settled,
      settledTo: sum + (plan.excess ?? 0n),
      seqFrom: lane.seq,
      seqTo: lane.seq + count,
      receipts: rootOf(items.map(({ receipt }) => hashReceipt(receipt))),
    };
    const payouts = (plan.pay ?? ((same) => same))(sharesOf(items));
    // The contract wants all but the fee paid out; to whom, it cannot judge.
    const paid = [...payouts.values()].reduce((all, units) => all + units, 0n);
    const rest = claim.settledTo - claim.settledFrom - paid;
    if (rest > 0n) payouts.set(stranger.address, (payouts.get(stranger.address) ?? 0n) + rest);
    const batch = chain.view.gateway(gateway.address)?.batches ?? 0;
    const { digest } = await encodeBatch({
      header: {
        chainId: chain.chainId,
        billing: chain.contracts.billing,
        gateway: gateway.address,
        batch,
        root: rootOf([hashClaim(claim)]),
        ...plan.header,
      },
      lanes: [
        {
          claim: (plan.claim ?? ((same) => same))(claim),
          receipts: (plan.show ?? ((same) => same))(items),
        },
      ],
      put: ({ cid, bytes }) => void blocks.set(cid, bytes),
    });
    const voucher = {
      payer: claim.payer,
      gateway: gateway.address,
      signer: claim.signer,
      ceiling: claim.settledTo,
    };
    const { blockNumber } = await settler.settle(
      gateway.address,
      [
        {
          payer: claim.payer,
          signer: claim.signer,
          amount: claim.settledTo,
          ceiling: claim.settledTo,
          seqFrom: claim.seqFrom,
          seq: claim.seqTo,
          receipts: claim.receipts,
          signature: signDigest(lane.key.privateKey, hashVoucher(chain.domain, voucher)),
        },
      ],
      [...payouts].map(([payee, amount]) => ({ payee, amount })),
      digest,
    );
    await chain.synced(blockNumber);
    const total = claim.settledTo - lane.settled;
    lane.settled = claim.settledTo;
    lane.seq += count;
    return { batch, total, cid: batchCid(digest), items };
  }

  function sharesOf(items: readonly BatchReceipt[]): Map<Address, bigint> {
    const shares = new Map<Address, bigint>();
    const add = (payee: Address, units: bigint) =>
      shares.set(payee, (shares.get(payee) ?? 0n) + units);
    for (const { receipt } of items) {
      const split = splitPrice(receipt.price, 0, PUBLISHER_BPS);
      add(receipt.provider, split.provider);
      add(publisher.address, split.publisher);
    }
    return shares;
  }
}

/** What a gateway's `/ipfs` gives of them. */
async function serveBlocks(blocks: ReadonlyMap<string, Uint8Array>): Promise<Server> {
  const server = createServer(({ url = '' }, reply) => {
    const [, cid = ''] = /^\/ipfs\/(\w+)\?format=raw$/.exec(url) ?? [];
    const block = blocks.get(cid);
    reply.writeHead(block ? 200 : 404).end(block);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return server;
}

const TERMS = {
  manifestCid: cidOf(CODECS.raw, word('aa')),
  artifactCid: cidOf(CODECS.dagPb, word('bb')),
  tariff: {
    perCall: 20n,
    perGiBSecond: 40n,
    maxPrice: 100_000n,
    minBilledMs: 0,
    roundMs: 1,
    publisherBps: PUBLISHER_BPS,
  },
  accessMode: 0,
  memoryMiB: 128,
  timeoutMs: 10_000,
  idempotent: true,
  deterministic: false,
} as const;
