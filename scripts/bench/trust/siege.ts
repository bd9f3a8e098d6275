// The game of an honest gateway and a stranger who tries everything against it.
import fc from 'fast-check';
import { hashReceipt } from '../../../contracts/libraries/receipts.ts';
import { type Claimed, callOf, executionOf, handOut, leafOf, serve, settle } from './books.ts';
import { billed, game, honestClaim, mode } from './game.ts';
import {
  type Entry,
  FEE_BPS,
  HOUR,
  type House,
  type Lane,
  newKey,
  PLEDGE,
  TOKEN,
  WINDOWS,
  wealthOf,
  word,
} from './house.ts';
import type { Outcome } from './outcome.ts';
import { answerIfPossible } from './round.ts';

export const STRANGERS_MOVES = [
  'demand',
  'demandAgain',
  'expireEarly',
  'proveHonest',
  'proveMutated',
  'proveForged',
  'answerForIt',
  'collectForged',
  'settleForIt',
  'leaveForIt',
  'thawAndRelease',
  'slash',
  'retireItsKey',
  'topUp',
  'bondDust',
] as const;

/** An honest gateway answers within the window, and a stranger tries everything. */
export const hostile = game(
  fc.record({
    bondTokens: fc.integer({ min: 1_000, max: 5_000 }),
    lanes: fc.array(fc.record({ mode, billedMs: billed }), { minLength: 1, maxLength: 2 }),
    moves: fc.array(
      fc.record({
        move: fc.constantFrom(...STRANGERS_MOVES),
        at: fc.nat(1_000),
        hours: fc.integer({ min: 0, max: 30 }),
      }),
      { minLength: 4, maxLength: 16 },
    ),
  }),
  (house, strategy) => besiege(house, strategy),
);

export interface SiegeStrategy {
  readonly bondTokens: number;
  readonly lanes: readonly { readonly mode: Lane['mode']; readonly billedMs: readonly number[] }[];
  readonly moves: readonly {
    readonly move: (typeof STRANGERS_MOVES)[number];
    readonly at: number;
    readonly hours: number;
  }[];
}

/** Plays the stranger's moves. After each the gateway answers what was demanded of it. */
export async function besiege(house: House, strategy: SiegeStrategy): Promise<Outcome> {
  const { of, evm } = house;
  await house.must('gateway', 'Billing', 'bond', of.gateway, BigInt(strategy.bondTokens) * TOKEN);
  const claimed: Claimed[] = [];
  const lanes: Lane[] = [];
  for (const { mode, billedMs } of strategy.lanes) {
    const lane = await house.openLane('anna', mode);
    for (const ms of billedMs) serve(house, lane, ms);
    lanes.push(lane);
  }
  const settleAll = async () => {
    const waiting = lanes.filter(({ served }) => served.length > 0);
    if (waiting.length === 0) return;
    const settled = await settle(house, waiting.map(honestClaim));
    if (!settled.ok) throw new Error(`an honest batch was refused: ${settled.error}`);
    claimed.push(...settled.claimed);
  };
  await settleAll();
  const before = await wealthOf(house, ['gateway', 'crony']);
  let earned = 0n;
  const forger = newKey();
  for (const { move, at, hours } of strategy.moves) {
    const one = claimed[at % claimed.length];
    if (!one) break;
    const index = at % one.entries.length;
    await strangersMove(house, { move, one, index, at, forger });
    await answerIfPossible(house, one);
    evm.pass(hours * HOUR);
    if (at % 5 === 0) {
      for (const lane of lanes) earned += serve(house, lane, at * 10).receipt.price;
      await settleAll();
    }
  }
  evm.pass(WINDOWS.answer + HOUR);
  for (const one of claimed) {
    for (const index of one.entries.keys())
      await house.send('stranger', 'Disputes', 'expire', one.place, index);
  }
  const fee = (earned * FEE_BPS) / 10_000n - BigInt(strategy.moves.length * lanes.length + 1);
  const lost = before + (fee > 0n ? fee : 0n) - (await wealthOf(house, ['gateway', 'crony']));
  return { honestLossUnits: lost > 0n ? lost : 0n };
}

/** What a stranger's move is about: a receipt of a settled claim. */
interface Target {
  readonly one: Claimed;
  readonly index: number;
  readonly entry: Entry;
  readonly at: number;
  readonly forger: House['operator'];
}

type Act = (
  contract: 'Billing' | 'Disputes' | 'Identity',
  method: string,
  ...args: unknown[]
) => Promise<unknown>;

async function strangersMove(
  house: House,
  of: Omit<Target, 'entry'> & { readonly move: (typeof STRANGERS_MOVES)[number] },
): Promise<void> {
  const { move, one, index, at, forger } = of;
  const entry = one.entries[index];
  if (!entry) return;
  const act: Act = (...sent) => house.send('stranger', ...sent);
  const { place } = one;
  const { gateway, stranger } = house.of;
  switch (move) {
    case 'demand':
    case 'demandAgain':
      await act('Disputes', 'demand', place, index);
      if (move === 'demandAgain') await act('Disputes', 'demand', place, index);
      return;
    case 'expireEarly':
      await act('Disputes', 'expire', place, index);
      return;
    case 'proveHonest':
      return proveHonest(house, act, { ...of, entry });
    case 'proveMutated':
      return proveMutated(act, { ...of, entry });
    case 'proveForged':
      return proveForged(house, act, { ...of, entry });
    case 'answerForIt':
      await act('Disputes', 'demand', place, index);
      await act(
        'Disputes',
        'answer',
        ...openedOf({ one, index, entry }),
        entry.callSignature ?? '0x',
      );
      return;
    case 'collectForged':
      await act('Billing', 'collect', gateway, stranger, 5n * TOKEN, forger.sign(word(at)));
      return;
    case 'settleForIt':
      await act('Billing', 'settle', gateway, [], [], word(1));
      await act('Billing', 'topUp', gateway, [house.of.anna]);
      return;
    case 'leaveForIt':
      await act('Billing', 'leave', gateway);
      await act('Billing', 'payOut', gateway, stranger);
      return;
    case 'thawAndRelease':
      await act('Billing', 'release', house.of.anna, gateway);
      return;
    case 'slash':
      await act('Billing', 'slash', gateway, TOKEN, stranger, 0n, stranger, 0n);
      await act('Billing', 'unpledge', stranger, PLEDGE);
      return;
    case 'retireItsKey':
      await act('Identity', 'retireKey', house.operator.address);
      return;
    case 'topUp':
      await act('Billing', 'topUp', gateway, [stranger]);
      return;
    case 'bondDust':
      await act('Billing', 'bond', gateway, 1n);
  }
}

function openedOf({ one, index, entry }: Pick<Target, 'one' | 'index' | 'entry'>) {
  return [one.place, leafOf(one, index), callOf(entry.call), executionOf(entry.execution)];
}

/** Proofs about honest receipts. */
async function proveHonest(house: House, act: Act, target: Target): Promise<void> {
  const { one, index } = target;
  const { place } = one;
  const opened = openedOf(target);
  await act('Disputes', 'proveOvercharge', ...opened);
  await act('Disputes', 'proveOverLimit', ...opened);
  await act('Disputes', 'proveMisroute', ...opened, 1, house.ids);
  await act('Disputes', 'proveEdge', place, leafOf(one, index));
  if (one.entries.length > index + 1) {
    const next = leafOf(one, index + 1);
    await act('Disputes', 'proveBreak', place, leafOf(one, index), next);
    await act('Disputes', 'proveDuplicate', place, leafOf(one, index), place, next);
  }
}

/** Proofs with a Call, an Execution or a place that was never committed. */
async function proveMutated(act: Act, target: Target): Promise<void> {
  const { one, index, entry, at } = target;
  const { place } = one;
  const call = { ...callOf(entry.call), maxPrice: 1n };
  const execution = { ...executionOf(entry.execution), billedMs: at };
  await act('Disputes', 'proveOvercharge', place, leafOf(one, index), call, execution);
  const moved = { ...place, settledTo: one.deltaUnits + 1n };
  await act('Disputes', 'proveEdge', moved, leafOf(one, index));
  await act('Disputes', 'proveMisroute', ...openedOf(target), 0, []);
  await act('Disputes', 'demand', { ...place, claim: 7 }, index);
}

/** Omissions of a receipt that another key signed, and of one that was not omitted. */
async function proveForged(house: House, act: Act, target: Target): Promise<void> {
  const { one, index, entry, forger } = target;
  const { place, tree } = one;
  const forged = handOut(house, { ...entry.receipt, price: 0n }, forger);
  const node = hashReceipt(entry.receipt);
  await act('Disputes', 'proveOmission', forged, place, node, tree.path(index), [entry.receipt]);
  const real = handOut(house, entry.receipt);
  await act('Disputes', 'proveOmission', real, place, node, tree.path(index), []);
}
