// Floats: money that a gateway reserves for its payees, one cycle's earnings each. A payee collects
// from it when a batch left it out, or when it cannot wait for a batch. Checked when the gateway
// starts and whenever one of its batches is included.
import type { ChainView } from '../../contracts/chain/types.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import type { Gateway } from '../gateway.ts';

/** Maximum number of allotments per transaction, about 50,000 gas each. */
const MAX_ALLOTMENTS = 100;
/** Refill a float when a quarter of it is missing. */
const [LEAST_PART, OF_PARTS] = [3n, 4n];

export type FloatView = Pick<ChainView, 'batches' | 'line' | 'lines' | 'free' | 'gateway'>;

/** A payee whose float is below its earnings of a cycle. */
export interface ShortFloat {
  readonly payee: Address;
  readonly haveUnits: bigint;
  /**
   * The payee's earnings from the newest batch and from the batches of one cycle before it, base
   * units.
   */
  readonly wantUnits: bigint;
}

export interface FloatRules {
  readonly gateway: Address;
  readonly cycleSec: number;
  /** Payees that earn less per cycle get no float. */
  readonly leastUnits: bigint;
}

/** Floats to fill, smallest need first, so that as many payees as possible get theirs. */
export function shortFloats(
  view: FloatView,
  { gateway, cycleSec, leastUnits }: FloatRules,
): readonly ShortFloat[] {
  const batches = view.batches(gateway);
  const sinceSec = (batches.at(-1)?.timestampSec ?? 0) - cycleSec;
  const wanted = new Map<Address, bigint>();
  for (const { payouts, timestampSec } of batches.toReversed()) {
    if (timestampSec <= sinceSec) break;
    for (const { payee, amount } of payouts) {
      wanted.set(payee, (wanted.get(payee) ?? 0n) + amount);
    }
  }
  // The gateway itself needs no float, even if it is also a provider.
  wanted.delete(gateway);
  return [...wanted]
    .filter(([, wantUnits]) => wantUnits >= leastUnits && wantUnits > 0n)
    .map(([payee, wantUnits]) => {
      const { allotted = 0n, thawing = 0n } = view.line(gateway, payee) ?? {};
      return { payee, wantUnits, haveUnits: allotted > thawing ? allotted - thawing : 0n };
    })
    .filter(({ haveUnits, wantUnits }) => OF_PARTS * haveUnits < LEAST_PART * wantUnits)
    .sort((a, b) => (a.wantUnits < b.wantUnits ? -1 : 1));
}

export interface Floats {
  /**
   * Fills short floats. Never rejects: failures are logged, and the next batch triggers another
   * try.
   */
  look(): Promise<void>;
  close(): void;
}

type Parts = Pick<Gateway, 'address' | 'chain' | 'account' | 'config' | 'log'>;

export function startFloats(gateway: Parts): Floats {
  const { chain, address } = gateway;
  const seen = (): number => chain.view.gateway(address)?.batches ?? 0;
  let batches = seen();
  let running: Promise<void> | undefined;
  const look = async (): Promise<void> => {
    running ??= fill(gateway)
      .catch((err) => gateway.log.error({ err }, 'floats of payees were not filled'))
      .finally(() => {
        running = undefined;
      });
    await running;
  };
  const stop = chain.onBlock(() => {
    if (seen() === batches) return;
    batches = seen();
    void look();
  });
  void look();
  return { look, close: stop };
}

async function fill({ address, chain, account, config, log }: Parts): Promise<void> {
  const { view } = chain;
  // A gateway that leaves takes its floats back and must not fill them.
  if ((view.gateway(address)?.standing ?? 0n) < chain.constants.minBond) return;
  const { settlementCycleSec: cycleSec, floatLeastUnits: leastUnits, floatMaxUnits } = config;
  const short = shortFloats(view, { gateway: address, cycleSec, leastUnits }).filter(
    // Skip a float that the operator is taking back.
    ({ payee }) => (view.line(address, payee)?.thawing ?? 0n) === 0n,
  );
  const setAside = view.lines(address).reduce((sum, { allotted }) => sum + allotted, 0n);
  const freeUnits = view.free(address);
  let room = least(freeUnits, floatMaxUnits > setAside ? floatMaxUnits - setAside : 0n);
  const allotments: { payee: Address; units: bigint }[] = [];
  let missingUnits = 0n;
  for (const { payee, wantUnits, haveUnits } of short.slice(0, MAX_ALLOTMENTS)) {
    const units = least(wantUnits - haveUnits, room);
    room -= units;
    missingUnits += wantUnits - haveUnits - units;
    if (units > 0n) allotments.push({ payee, units });
  }
  if (missingUnits > 0n) {
    log.warn(
      {
        missingUnits: `${missingUnits}`,
        freeUnits: `${freeUnits}`,
        floatMaxUnits: `${floatMaxUnits}`,
      },
      'floats of payees are short: deposit free money for the gateway, or raise the bound',
    );
  }
  if (allotments.length === 0) return;
  const calls = allotments.map(({ payee, units }) =>
    chain.encode('billing', 'allot', [payee, units]),
  );
  const { blockNumber, tx } = await account.send('billing', 'multicall', [calls]);
  await chain.synced(blockNumber);
  log.info({ payees: allotments.length, tx }, 'floats of payees filled');
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
