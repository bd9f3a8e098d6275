// What a gateway sets aside for its payees: one cycle's worth each, from which a payee collects
// that
// a batch left out or that cannot wait for one. Looked at when the gateway starts, and whenever a batch
// of its own has landed.
import type { ChainView } from '../../contracts/chain/types.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import type { Gateway } from '../gateway.ts';

/** Allotments of one transaction: about 50,000 gas each. */
const MAX_ALLOTMENTS = 100;
/** A float is filled up again when a quarter of it is missing. */
const [LEAST_PART, OF_PARTS] = [3n, 4n];

export type FloatView = Pick<ChainView, 'batches' | 'line' | 'lines' | 'free' | 'gateway'>;

/** A payee whose float does not hold what a cycle brings it. */
export interface ShortFloat {
  readonly payee: Address;
  readonly haveUnits: bigint;
  /** What the newest batch and those of one cycle before it brought the payee, base units. */
  readonly wantUnits: bigint;
}

export interface FloatRules {
  readonly gateway: Address;
  readonly cycleSec: number;
  /** Payees with less a cycle get no float. */
  readonly leastUnits: bigint;
}

/** Those that are short, who need least first: so the most payees have theirs. */
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
  // A gateway that is a provider too owes itself nothing.
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
   * Fills what is short. Never rejects: what fails is logged, and looked at after the next batch.
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
  // One that leaves takes its floats back, and fills none.
  if ((view.gateway(address)?.standing ?? 0n) < chain.constants.minBond) return;
  const { settlementCycleSec: cycleSec, floatLeastUnits: leastUnits, floatMaxUnits } = config;
  const short = shortFloats(view, { gateway: address, cycleSec, leastUnits }).filter(
    // The operator is taking this one back.
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
