// The work of one anonymous call for a publisher with few and with many lanes, each with a mandate
// for the callers of a function. The gateway's own parts, fed with the chain's events.

import { SPONSOR_KIND } from '../../../broker/client/mandates.ts';
import { authenticate } from '../../../broker/invocation/authenticate.ts';
import { createLanes } from '../../../broker/money/lanes.ts';
import { createMandates } from '../../../broker/money/mandates.ts';
import { createHistory } from '../../../contracts/chain/view/history.ts';
import { createMoney } from '../../../contracts/chain/view/money.ts';
import type { Address, Hex } from '../../../contracts/libraries/keccak.ts';
import type { WorkCounter } from './work.ts';

const GATEWAY: Address = `0x${'9a'.repeat(20)}`;
const PUBLISHER: Address = `0x${'b1'.repeat(20)}`;
const NO_SUBJECT: Hex = `0x${'00'.repeat(32)}`;
const LINE_UNITS = 1_000_000n;
const CALLS = 20;
const FEW = 20;
const MANY = 2_000;
const NOW_SEC = 1_800_000_000;

/** Each lane pays for its own function (`own`), all for one (`shared`), or none can (`empty`). */
const CASES = ['own', 'shared', 'empty'] as const;

/** How much more a call costs with 2,000 lanes than with 20, in the worst case. */
export async function lanesWorkGrowth(counter: WorkCounter) {
  const growth: Record<string, number> = {};
  for (const one of CASES) {
    const few = await workOfCalls(counter, FEW, one);
    const many = await workOfCalls(counter, MANY, one);
    growth[one] = Number((many / few).toFixed(3));
  }
  return { worst: Math.max(...Object.values(growth)), growth };
}

async function workOfCalls(
  counter: WorkCounter,
  count: number,
  which: (typeof CASES)[number],
): Promise<number> {
  const call = furnish(count, which);
  // The first call chooses the mandate that pays.
  await call();
  await counter.begin();
  for (let n = 0; n < CALLS; n += 1) await call();
  return counter.end();
}

function furnish(count: number, which: (typeof CASES)[number]): () => Promise<void> {
  const { queries: view, replay } = createMoney(createHistory(1));
  const tell = (event: string, args: object): void =>
    // Safe: as the logs of Billing are decoded.
    replay.billing?.[event]?.(
      { gateway: GATEWAY, payer: PUBLISHER, ...args } as never,
      { blockNumber: 1, timestampSec: 1 } as never,
    );
  const signers = Array.from(
    { length: count },
    (_, n): Address => `0x${(n + 1).toString(16).padStart(40, '0')}`,
  );
  tell('Allotted', { amount: 0n, allotted: which === 'empty' ? 0n : LINE_UNITS });
  for (const signer of signers) {
    tell('LaneOpened', { signer, cap: LINE_UNITS, expiry: BigInt(2 * NOW_SEC), mode: 1n });
  }
  const lanes = createLanes({
    ...{ gateway: GATEWAY, view, final: view, totals: [], leastLifeSec: 0 },
    nowSec: () => NOW_SEC,
    vouchers: signers.map((signer) => {
      return { payer: PUBLISHER, signer, ceiling: LINE_UNITS, signature: '0x' as const };
    }),
  });
  const functionIdOf = (n: number): bigint => (which === 'shared' ? 1n : BigInt(n + 1));
  const mandates = createMandates({
    nowMs: () => NOW_SEC * 1000,
    spending: [],
    mandates: signers.map((signer, n) => {
      const units = { maxPrice: LINE_UNITS, perDay: LINE_UNITS, total: LINE_UNITS };
      const until = { untilSec: NOW_SEC + 86_400, serial: BigInt(n) };
      const of = { payer: PUBLISHER, gateway: GATEWAY, signer, functionId: functionIdOf(n) };
      const mandate = { ...of, kind: SPONSOR_KIND, subject: NO_SUBJECT, ...units, ...until };
      return { hash: `0x${n.toString(16).padStart(64, '0')}`, mandate, signature: '0x' as const };
    }),
  });
  const tariff = { perCall: 20n, perGiBSecond: 0n, maxPrice: 20n, minBilledMs: 0, roundMs: 1 };
  // Safe: of the gateway and of a call, these steps read what is given here.
  const parts = { lanes, mandates, deployments: { manifest: () => ({ payer: 'publisher' }) } };
  const target = {
    label: 'bench',
    function: { owner: PUBLISHER, id: 1n },
    version: { functionId: 1n, accessMode: 0, memoryMiB: 128, timeoutMs: 1_000, ...tariff, tariff },
  };
  return async () => {
    const caller = await authenticate(
      parts as unknown as Parameters<typeof authenticate>[0],
      {} as unknown as Parameters<typeof authenticate>[1],
      target as unknown as Parameters<typeof authenticate>[2],
    ).catch(({ code }: { readonly code?: string }) => {
      if (code !== 'SPONSOR_EMPTY') throw new Error(`the call was refused with ${code}`);
    });
    if ((caller === undefined) !== (which === 'empty')) throw new Error('the wrong caller paid');
    const held = caller && lanes.hold(caller, 20n);
    if (held?.ok) lanes.release(held.lane, 20n);
  };
}
