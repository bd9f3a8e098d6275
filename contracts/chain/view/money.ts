// Free money, lines, lanes and dues, from Billing's events. An invocation reads them with three map
// look-ups.

import type { Address } from '../../libraries/keccak.ts';
import { inner, type Replay, toAddress } from '../replay.ts';
import type { ChainView, Due, Exposure, Lane, Line } from '../types.ts';
import type { History } from './history.ts';

type Money = Pick<
  ChainView,
  | 'lane'
  | 'lanes'
  | 'line'
  | 'lines'
  | 'free'
  | 'limit'
  | 'due'
  | 'exposure'
  | 'totals'
  | 'isPaused'
>;

const NO_LINE: Line = { allotted: 0n, filled: 0n, thawing: 0n, thawEndSec: 0, settled: 0n };
const NEVER_SLASHED = { slashes: 0, slashed: 0n } as const;
const NOTHING_DUE: Due = { credited: 0n, withdrawn: 0n, advanced: 0n };

export function createMoney(history: History): { queries: Money; replay: Replay } {
  const free = new Map<Address, bigint>();
  // Keyed by gateway, then payer (then signer): a gateway reads its own entries.
  const lines = new Map<Address, Map<Address, Line>>();
  const limits = new Map<Address, Map<Address, bigint>>();
  const lanes = new Map<Address, Map<Address, Map<Address, Lane>>>();
  const dues = new Map<Address, Map<Address, Due>>();
  const slashes = new Map<Address, Pick<Exposure, 'slashes' | 'slashed'>>();
  const totals = new Map<'pledged' | 'burned', bigint>();
  const paused = new Map<'paused', boolean>();

  const addFree = (account: string, amount: bigint): void => {
    const at = toAddress(account);
    history.set(free, at, (free.get(at) ?? 0n) + amount);
  };
  const changeLine = (payer: string, gateway: string, change: (line: Line) => Line): void => {
    const ofGateway = inner(lines, toAddress(gateway));
    const at = toAddress(payer);
    history.set(ofGateway, at, change(ofGateway.get(at) ?? NO_LINE));
  };
  const changeDue = (gateway: string, payee: string, change: (due: Due) => Due): void => {
    const ofGateway = inner(dues, toAddress(gateway));
    const at = toAddress(payee);
    history.set(ofGateway, at, change(ofGateway.get(at) ?? NOTHING_DUE));
  };
  const lanesOf = (payer: string, gateway: string): Map<Address, Lane> =>
    inner(inner(lanes, toAddress(gateway)), toAddress(payer));
  const addTotal = (name: 'pledged' | 'burned', amount: bigint): void =>
    history.set(totals, name, (totals.get(name) ?? 0n) + amount);
  const changeLane = (
    { payer, gateway, signer }: { payer: string; gateway: string; signer: string },
    changes: Partial<Lane>,
  ): void => {
    const ofPayer = lanesOf(payer, gateway);
    const known = ofPayer.get(toAddress(signer));
    if (known) history.set(ofPayer, toAddress(signer), { ...known, ...changes });
  };

  const replay: Replay = {
    billing: {
      Deposited: ({ account, amount }) => addFree(account, amount),
      Withdrawn: ({ account, amount }) => addFree(account, 0n - amount),
      Allotted: ({ payer, gateway, amount, allotted }) => {
        addFree(payer, 0n - amount);
        changeLine(payer, gateway, (line) => ({ ...line, allotted, filled: allotted }));
      },
      LimitSet: ({ payer, gateway, limit }) =>
        history.set(inner(limits, toAddress(gateway)), toAddress(payer), limit),
      LaneOpened: ({ payer, gateway, signer, cap, expiry, mode }) =>
        history.set(lanesOf(payer, gateway), toAddress(signer), {
          settled: 0n,
          cap,
          seq: 0,
          expirySec: Number(expiry),
          mode: mode === 1n ? 1 : 2,
        }),
      LaneExtended: ({ payer, gateway, signer, cap, expiry }) =>
        changeLane(
          { payer, gateway, signer },
          { cap, expirySec: Number(expiry), isClosing: false },
        ),
      LaneClosing: ({ payer, gateway, signer, expiry }) =>
        changeLane({ payer, gateway, signer }, { expirySec: Number(expiry), isClosing: true }),
      ThawStarted: ({ payer, gateway, amount, end }) => {
        changeLine(payer, gateway, (line) => ({
          ...line,
          thawing: amount,
          thawEndSec: Number(end),
        }));
        history.set(inner(limits, toAddress(gateway)), toAddress(payer), 0n);
      },
      ThawCancelled: ({ payer, gateway }) =>
        changeLine(payer, gateway, (line) => ({ ...line, thawing: 0n, thawEndSec: 0 })),
      Released: ({ payer, gateway, amount }) => {
        changeLine(payer, gateway, (line) => {
          const allotted = line.allotted - amount;
          return { ...NO_LINE, allotted, filled: allotted, settled: line.settled };
        });
        addFree(payer, amount);
      },
      Claimed: ({ payer, gateway, signer, settled, seq }) => {
        const before = lanesOf(payer, gateway).get(toAddress(signer))?.settled ?? 0n;
        const taken = settled - before;
        changeLine(payer, gateway, (line) => ({
          ...line,
          allotted: line.allotted - taken,
          settled: line.settled + taken,
        }));
        changeLane({ payer, gateway, signer }, { settled, seq: Number(seq) });
      },
      Paid: ({ gateway, payee, amount }) =>
        changeDue(gateway, payee, (due) => ({ ...due, credited: due.credited + amount })),
      // The money comes from the gateway's float: the line on which the gateway is itself the
      // payer.
      Collected: ({ gateway, payee, amount }) => {
        changeLine(gateway, payee, (line) => ({ ...line, allotted: line.allotted - amount }));
        changeDue(gateway, payee, (due) => ({
          ...due,
          credited: due.credited + amount,
          advanced: due.advanced + amount,
        }));
      },
      // Moves what the preceding Paid event credited to the float instead.
      Refilled: ({ gateway, payee, amount }) => {
        changeLine(gateway, payee, (line) => ({ ...line, allotted: line.allotted + amount }));
        changeDue(gateway, payee, (due) => ({
          ...due,
          credited: due.credited - amount,
          advanced: due.advanced - amount,
        }));
      },
      PaidOut: ({ gateway, payee, amount }) =>
        changeDue(gateway, payee, (due) => ({ ...due, withdrawn: due.withdrawn + amount })),
      Left: ({ gateway, amount }) => addFree(gateway, amount),
      Slashed: ({ gateway, payer, reporter, amount, toPayer, toReporter }) => {
        const known = slashes.get(toAddress(gateway)) ?? NEVER_SLASHED;
        history.set(slashes, toAddress(gateway), {
          slashes: known.slashes + 1,
          slashed: known.slashed + BigInt(amount),
        });
        addFree(payer, toPayer);
        addFree(reporter, toReporter);
        addTotal('burned', BigInt(amount) - toPayer - toReporter);
      },
      Pledged: ({ account, amount }) => {
        addFree(account, 0n - amount);
        addTotal('pledged', amount);
      },
      Unpledged: ({ to, amount }) => {
        addFree(to, amount);
        addTotal('pledged', 0n - amount);
      },
      Paused: () => history.set(paused, 'paused', true),
      Unpaused: () => history.set(paused, 'paused', false),
    },
  };

  const queries: Money = {
    lane: (payer, gateway, signer) => lanes.get(gateway)?.get(payer)?.get(signer),
    lanes: (payer, gateway) =>
      [...(lanes.get(gateway)?.get(payer) ?? [])].map(([signer, lane]) => ({ ...lane, signer })),
    line: (payer, gateway) => lines.get(gateway)?.get(payer),
    lines: (payer) =>
      [...lines].flatMap(([gateway, ofGateway]) => {
        const line = ofGateway.get(payer);
        return line === undefined ? [] : [{ ...line, gateway }];
      }),
    free: (account) => free.get(account) ?? 0n,
    limit: (payer, gateway) => limits.get(gateway)?.get(payer) ?? 0n,
    due: (gateway, payee) => dues.get(gateway)?.get(payee) ?? NOTHING_DUE,
    exposure: (gateway) => {
      let sum = 0n;
      for (const { allotted } of lines.get(gateway)?.values() ?? []) sum += allotted;
      return { lines: sum, ...(slashes.get(gateway) ?? NEVER_SLASHED) };
    },
    get totals() {
      return { pledged: totals.get('pledged') ?? 0n, burned: totals.get('burned') ?? 0n };
    },
    get isPaused() {
      return paused.get('paused') ?? false;
    },
  };
  return { queries, replay };
}
