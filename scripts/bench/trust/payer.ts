// The payer's side: the client's own checks and ceilings against a gateway that answers each call
// as it likes. What the client signs is compared with what it really called.
import fc from 'fast-check';
import { createCover } from '../../../broker/client/cover.ts';
import { DefaasClientError } from '../../../broker/client/errors.ts';
import { createKeySigner } from '../../../broker/client/key.ts';
import { createLaneMemory } from '../../../broker/client/lane-memory.ts';
import { ownCallOf, ownNonce } from '../../../broker/client/own-calls.ts';
import type { Session } from '../../../broker/client/session.ts';
import { createKey } from '../../../contracts/keystore.ts';
import type { Hex } from '../../../contracts/libraries/keccak.ts';
import { functionIdOf } from '../../../contracts/libraries/names.ts';
import { hashReceipt } from '../../../contracts/libraries/receipts.ts';
import { priceOf } from '../../../contracts/libraries/tariffs.ts';
import { billingDomain } from '../../../contracts/libraries/typed-data.ts';
import { entryAt, handOut } from './books.ts';
import { type Entry, type House, type Lane, TERMS, TOKEN, word } from './house.ts';
import type { Outcome } from './outcome.ts';

/** What the gateway makes of one call. */
const BEHAVIOURS = [
  'honest',
  'answerLost',
  'invented',
  'inventedMany',
  'dearer',
  'aboveMaximum',
  'longer',
  'again',
  'otherSum',
  'otherSeq',
  'gap',
  'hidden',
  'unsigned',
  'noSalt',
  'swapped',
] as const;

export interface PayerStrategy {
  /** 1/1000 of a token. */
  readonly step: number;
  readonly calls: readonly {
    readonly behaviour: (typeof BEHAVIOURS)[number];
    readonly ms: number;
    /** Calls are in flight together until one waits for its receipts. */
    readonly isAwaited: boolean;
  }[];
}

export const payerStrategies: fc.Arbitrary<PayerStrategy> = fc.record({
  step: fc.integer({ min: 0, max: 3_000 }),
  calls: fc.array(
    fc.record({
      behaviour: fc.oneof(
        { weight: 2, arbitrary: fc.constant('honest' as const) },
        { weight: 3, arbitrary: fc.constantFrom(...BEHAVIOURS) },
      ),
      ms: fc.integer({ min: 0, max: 3_000 }),
      isAwaited: fc.boolean(),
    }),
    { minLength: 2, maxLength: 8 },
  ),
});

/** A call may be billed a millisecond more than it took, for clocks are read in turn. */
const SLACK_UNITS = TOKEN / 1_000n;

/** The most that the client ever signed beyond what it called, its step and its calls in flight. */
export async function payLyingGateway(house: House, strategy: PayerStrategy): Promise<Outcome> {
  const { of } = house;
  const key = createKey();
  const signer = await createKeySigner(key.privateKey);
  const name = { payer: of.anna, signer: key.address };
  const lane = laneOf(key.address);
  const functionId = functionIdOf(of.publisher, 'fn');
  const version = house.versions[0] ?? word(0);
  const ownCallsKey = word(7);
  const shown: Record<string, unknown>[] = [];
  const session = lyingSession(house, { key: signer, lane: name, ownCallsKey, shown });
  const memory = createLaneMemory();
  const stepUnits = (BigInt(strategy.step) * TOKEN) / 1_000n;
  const cover = createCover({
    session,
    lane: name,
    memory,
    ownCallsKey,
    isSigned: false,
    stepUnits,
    chain: {
      isKeyInForce: async (address) => address === house.operator.address,
      priceTerms: async () => TERMS,
      functionOf: async () => functionId,
      functionVersion: async () => version,
    },
  });

  let worst = 0n;
  /** Own calls: what each really came to, and what it might. */
  const calls = new Map<string, { readonly owedUnits: bigint; readonly maxUnits: bigint }>();
  let compared = 0n;
  /** A ceiling is never taken back: what counts is what was in flight when it was signed. */
  const compare = (): void => {
    const { ceilingUnits } = memory.read();
    if (ceilingUnits === compared) return;
    compared = ceilingUnits;
    let owed = 0n;
    let open = 0n;
    for (const [own, { owedUnits, maxUnits }] of calls) {
      if (memory.paid(own) === undefined) open += maxUnits;
      else owed += owedUnits;
    }
    const beyond = ceilingUnits - owed - (open > stepUnits ? open : stepUnits);
    if (beyond > worst) worst = beyond;
  };
  let seq = 0;
  let cumulative = 0n;
  const book: Entry[] = [];
  const show = (entry: Entry, change: object = {}): void => {
    shown.push(documentOf(house, entry, change));
    book.push(entry);
    seq = entry.receipt.seq;
    cumulative = entry.receipt.cumulative;
  };
  for (const { behaviour, ms, isAwaited } of strategy.calls) {
    const maxPriceUnits = priceOf({ status: 200, billedMs: 5_000, memoryMiB: 1_024 }, TERMS);
    const nonce = ownNonce(ownCallsKey, { functionId, maxPriceUnits });
    const own = ownCallOf(nonce, functionId);
    const made = { id: own, call: own, maxPriceUnits };
    calls.set(own, { owedUnits: maxPriceUnits, maxUnits: maxPriceUnits });
    memory.putCall({ ...made, expiresAtMs: Number.MAX_SAFE_INTEGER });
    await quiet(cover.coverOpen());
    compare();
    if (memory.read().stopped !== undefined) break;

    const call = { nonce, maxPrice: maxPriceUnits };
    const place = { seq: seq + 1, before: cumulative, billedMs: ms };
    const honest = entryAt(house, lane, place, { call });
    const { price } = honest.receipt;
    const answered = (entry: Entry) =>
      memory.putCall({
        ...made,
        expiresAtMs: 0,
        answer: {
          seq: entry.receipt.seq,
          id: hashReceipt(entry.receipt),
          priceUnits: entry.receipt.price,
          elapsedMs: ms,
        },
      });
    const at = (seqAt: number, before: bigint, changes: Parameters<typeof entryAt>[3]) =>
      entryAt(house, lane, { seq: seqAt, before, billedMs: ms }, changes);
    let served = price;
    switch (behaviour) {
      case 'honest':
        show(honest);
        answered(honest);
        break;
      case 'answerLost':
        // The payer saw no answer: its maximum is what it has agreed to.
        served = maxPriceUnits;
        show(at(seq + 1, cumulative, { call, execution: { billedMs: 5_000 } }));
        break;
      case 'invented':
        show(honest);
        answered(honest);
        show(at(seq + 1, cumulative, { call: { maxPrice: maxPriceUnits } }));
        break;
      case 'inventedMany':
        for (let i = 0; i < 9; i += 1) {
          show(at(seq + 1, cumulative, { call: { maxPrice: maxPriceUnits } }));
        }
        show(honest);
        break;
      case 'dearer':
        show(at(seq + 1, cumulative, { call, receipt: dearer(price + 1n, cumulative) }));
        answered(honest);
        break;
      case 'aboveMaximum': {
        const tooDear = at(seq + 1, cumulative, { call, execution: { billedMs: 50_000 } });
        show(tooDear);
        break;
      }
      case 'longer': {
        const long = at(seq + 1, cumulative, { call, execution: { billedMs: ms + 900 } });
        show(long);
        answered(long);
        break;
      }
      case 'again': {
        show(honest);
        answered(honest);
        show(at(seq + 1, cumulative, { call }));
        break;
      }
      case 'otherSum':
        show(at(seq + 1, cumulative + TOKEN, { call }));
        answered(honest);
        break;
      case 'otherSeq':
        show(at(Math.max(seq, 1), cumulative, { call }));
        answered(honest);
        break;
      case 'gap':
        show(at(seq + 2, cumulative, { call }));
        answered(honest);
        break;
      case 'hidden':
        answered(honest);
        break;
      case 'unsigned':
        show(honest, { group: { ...groupOf(house, honest), signature: `0x${'22'.repeat(65)}` } });
        answered(honest);
        break;
      case 'noSalt':
        show(honest, { salt: undefined });
        answered(honest);
        break;
      case 'swapped': {
        const other = at(seq + 1, cumulative, { call, execution: { output: word(3) } });
        show(other);
        answered(honest);
      }
    }
    calls.set(own, { owedUnits: served + SLACK_UNITS, maxUnits: maxPriceUnits });
    if (isAwaited) await quiet(cover.acknowledge());
  }
  await quiet(cover.raise());
  compare();
  return { payerLossUnits: worst };
}

function dearer(price: bigint, before: bigint) {
  return { price, cumulative: before + price };
}

/** What the client refuses with a code is an answer; anything else is a fault of this game. */
async function quiet(done: Promise<unknown>): Promise<void> {
  try {
    await done;
  } catch (error) {
    if (!(error instanceof DefaasClientError)) throw error;
  }
}

function laneOf(address: Hex): Lane {
  return {
    payer: 'anna',
    key: { address, sign: () => '0x' },
    mode: 'prepaid',
    settledSeq: 0,
    settledUnits: 0n,
    served: [],
    worthUnits: 0n,
  };
}

/** A gateway in this process: it shows what the game lets it show, and no voucher. */
function lyingSession(
  house: House,
  of: Pick<Session, 'key' | 'lane'> & {
    readonly ownCallsKey: Hex;
    readonly shown: readonly Record<string, unknown>[];
  },
): Session {
  const { evm } = house;
  const contracts = {
    registry: evm.at('FunctionRegistry'),
    identity: evm.at('Identity'),
    billing: evm.at('Billing'),
    disputes: evm.at('Disputes'),
    beacon: evm.at('Beacon'),
  };
  const token = evm.at('MockUSDC');
  const all = { ...contracts, token, deployedAtBlock: 0 };
  const { chainId } = evm;
  const request = async (path: string): Promise<Response> => {
    const { searchParams } = new URL(path, 'http://localhost');
    const from = Number(searchParams.get('after') ?? 0);
    const receipts = of.shown.filter(({ seq }) => Number(seq) > from);
    return Response.json(path.startsWith('/receipts') ? { receipts, next: null } : {});
  };
  const { key, lane, ownCallsKey } = of;
  return {
    connection: {
      origin: 'http://localhost',
      document: { gateway: house.of.gateway, chainId, contracts: all, feeBps: 0, providers: [] },
      set: { id: 'local', contracts, fromBlock: 0, token, status: 'current' },
      chain: { chainId, contracts: all, rpcUrl: '' },
      domain: billingDomain(chainId, contracts.billing),
      send: request,
      request,
    },
    key,
    lane,
    ownCallsKey,
    send: request,
    request,
  };
}

function groupOf(house: House, { receipt }: Entry) {
  const { signature } = handOut(house, receipt);
  return { root: hashReceipt(receipt), index: 0, count: 1, path: [], signature };
}

function documentOf(house: House, entry: Entry, change: object): Record<string, unknown> {
  const { receipt, call, execution } = entry;
  return {
    seq: receipt.seq,
    id: hashReceipt(receipt),
    receipt: { ...receipt, price: `${receipt.price}`, cumulative: `${receipt.cumulative}` },
    call: { ...call, maxPrice: `${call.maxPrice}` },
    execution,
    salt: word(5),
    group: groupOf(house, entry),
    function: `${house.of.publisher}/fn@1`,
    provider: 'local',
    settled: false,
    ...change,
  };
}
