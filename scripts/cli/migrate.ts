// `defaas migrate --to <set>`: moves an account's money from older contracts to those that replace
// them, at the same gateways. Money set aside thaws first, so the command is run twice. Finished
// steps are not repeated.
import type { SendOptions } from '../../contracts/chain/nonce-line.ts';
import { createKey } from '../../contracts/keystore.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { hasLaneKey, writeLaneKey } from './account.ts';
import { tellTerms } from './before-money.ts';
import { checkSet } from './check-usage.ts';
import { CliError } from './cli-error.ts';
import type { Flags, Outcome } from './context.ts';
import { LANE_LIFE_SEC, PREPAID, roomFor } from './deposit.ts';
import { afterMoved, movesFrom, openMove } from './move.ts';
import { type OwnChain, openOwnChain } from './own-chain.ts';
import { openStore } from './store.ts';

/** What was done for one gateway; amounts in base units. */
interface Moved {
  readonly gateway: Address;
  /** Thaws in the old set until `thawEndSec`. */
  readonly thawingUnits: bigint;
  readonly thawEndSec: number;
  /** Is set aside in the new set now. */
  readonly movedUnits: bigint;
  /**
   * The lane that spends in the new set; null: the gateway is not registered there, and the money
   * is in the wallet.
   */
  readonly lane: Address | null;
}

/**
 * Opens lanes in the new set at once, so that calls can be paid as soon as the gateway serves it,
 * and starts to thaw the old lines. A second run after the thaw releases and withdraws what is left
 * of each line and sets it aside at the same gateway in the new set. Free money moves at once.
 * @throws CliError USAGE the set is not in the file or has replaced none, NOTHING_TO_WITHDRAW;
 *   ChainError CHAIN_...
 */
export async function migrate(flags: Flags, options: { readonly to: string }): Promise<Outcome> {
  checkSet(options.to, '--to');
  const next = await openOwnChain({ ...flags, set: options.to });
  try {
    const { replaces } = next.set;
    if (replaces === undefined) {
      throw new CliError(
        'USAGE',
        `set ${options.to} takes the place of no other, on ${next.trust.file}, name another with --to`,
      );
    }
    const old = await openOwnChain({ ...flags, set: replaces }, { allowRevoked: true });
    try {
      if (old.set.token !== next.set.token) {
        throw new CliError(
          'USAGE',
          `set ${options.to} bills in token ${next.set.token}, set ${replaces} in ${old.set.token}: run defaas withdraw, then deposit anew`,
        );
      }
      await tellTerms(flags, next, next.chain);
      const { address } = old.account;
      return await old.chain.exclusively(address, () => moveAll(old, next));
    } finally {
      old.close();
    }
  } finally {
    next.close();
  }
}

async function moveAll(old: OwnChain, next: OwnChain): Promise<Outcome> {
  const { address } = old.account;
  await Promise.all([old.chain.synced(), next.chain.synced()]);
  const { chainId, contracts } = old.chain;
  const name = `migrate ${chainId} ${contracts.billing} ${next.chain.contracts.billing} ${address}`;
  // Money that an earlier run has taken out and not set aside yet is in the wallet.
  const begun = begunMoves(old.confirmed, `${name} `);
  const { view } = old.chain;
  const lines = view.lines(address).filter(({ allotted }) => allotted > 0n);
  const gateways = new Set([...lines.map(({ gateway }) => gateway), ...begun]);
  gateways.delete(FREE);
  const hasFree = view.free(address) > 0n || begun.includes(FREE);
  if (gateways.size === 0 && !hasFree) {
    throw new CliError(
      'NOTHING_TO_WITHDRAW',
      `account ${address} has nothing in set ${old.set.id}, see defaas balance`,
    );
  }
  const freeUnits = hasFree ? await moveFree(old, next, `${name} ${FREE}`) : 0n;
  const moved: Moved[] = [];
  for (const gateway of gateways) {
    moved.push(await moveLine(old, next, { name: `${name} ${gateway}`, gateway, begun }));
  }
  const document = {
    account: address,
    from: old.set.id,
    to: next.set.id,
    freeUnits,
    gateways: moved,
  };
  const free = freeUnits > 0n ? [`${formatTokens(freeUnits)} free tokens are moved`] : [];
  return { document, text: [...free, ...moved.map(lineOf)].join('\n') };
}

/** Takes the place of a gateway in the name of a move. */
const FREE: Address = '0x';

/** Gateways whose money an earlier run began to move. */
function begunMoves(confirmed: OwnChain['confirmed'], start: string): readonly Address[] {
  // Safe: `moveAll` has written them.
  return movesFrom(confirmed, start).map((name) => name.slice(start.length) as Address);
}

async function moveFree(old: OwnChain, next: OwnChain, name: string): Promise<bigint> {
  const { address } = old.account;
  const facts = () => ({ units: `${old.chain.view.free(address)}` });
  const move = openMove(old.confirmed, name, facts);
  const units = BigInt(move.facts.units ?? 0);
  const writer = old.chain.connect(old.account);
  const out = await move.send('out', writer, (sending) => withdraw(old, [], units, sending));
  await afterMoved(takenOut(units), async () => {
    await old.chain.synced(out);
    const other = next.chain.connect(next.account);
    const put = await move.send('in', other, (sending) =>
      other.approveAndDeposit(units, address, sending),
    );
    await next.chain.synced(put);
  });
  move.end();
  return units;
}

/** Takes units out of the old set after other calls, by one transaction. */
async function withdraw(
  { chain, account }: OwnChain,
  before: readonly Hex[],
  units: bigint,
  sending: SendOptions,
): Promise<number> {
  const calls = [...before, chain.encode('billing', 'withdraw', [account.address, units])];
  const sent = await chain.connect(account).send('billing', 'multicall', [calls], sending);
  return sent.blockNumber;
}

function takenOut(units: bigint): string {
  return `${formatTokens(units)} tokens of the old set are in the wallet`;
}

interface LineMove {
  readonly name: string;
  readonly gateway: Address;
  readonly begun: readonly Address[];
}

async function moveLine(old: OwnChain, next: OwnChain, of: LineMove): Promise<Moved> {
  const { gateway } = of;
  const { address } = old.account;
  const writer = old.chain.connect(old.account);
  const { standing = 0n } = next.chain.view.gateway(gateway) ?? {};
  const isServed = standing >= next.chain.constants.minBond;
  const lane = isServed ? await laneAt(next, gateway) : null;
  if (of.begun.includes(gateway)) return moveThawed(old, next, of, lane);
  const line = old.chain.view.line(address, gateway);
  if (!line || line.thawing === 0n) {
    await old.chain.synced(await writer.thaw(gateway, line?.allotted ?? 0n));
  }
  const thawing = old.chain.view.line(address, gateway);
  const thawEndSec = thawing?.thawEndSec ?? 0;
  if (thawEndSec > (await old.chain.nowSec())) {
    const thawingUnits = thawing?.thawing ?? 0n;
    return { gateway, thawingUnits, thawEndSec, movedUnits: 0n, lane };
  }
  return moveThawed(old, next, of, lane);
}

/** Takes what has thawed out of the old set, and sets it aside in the new one. */
async function moveThawed(
  old: OwnChain,
  next: OwnChain,
  { name, gateway }: LineMove,
  signer: Address | null,
): Promise<Moved> {
  const { address } = old.account;
  const writer = old.chain.connect(old.account);
  const move = openMove(old.confirmed, name, () => {
    const { thawing = 0n, allotted = 0n } = old.chain.view.line(address, gateway) ?? {};
    return { units: `${thawing < allotted ? thawing : allotted}`, lane: signer ?? '' };
  });
  const movedUnits = BigInt(move.facts.units ?? 0);
  // Safe: it was written from an address, or is empty.
  const lane = move.facts.lane ? (move.facts.lane as Address) : null;
  const release = old.chain.encode('billing', 'release', [address, gateway]);
  const out = await move.send('out', writer, (sending) =>
    withdraw(old, [release], movedUnits, sending),
  );
  await afterMoved(takenOut(movedUnits), async () => {
    await old.chain.synced(out);
    if (!lane) return;
    const other = next.chain.connect(next.account);
    const nowSec = await next.chain.nowSec();
    const room = { units: movedUnits, nowSec };
    const of = { payer: address, gateway, signer: lane };
    const put = await move.send('in', other, (sending) => {
      const terms = { amount: movedUnits, gateway, ...roomFor(next.chain, of, room) };
      return other.depositAllotOpenLane(terms, sending);
    });
    await next.chain.synced(put);
  });
  move.end();
  return { gateway, thawingUnits: 0n, thawEndSec: 0, movedUnits, lane };
}

/**
 * The account's lane in the new set whose key is here, or a new one. Its key is on disk before the
 * chain knows it.
 */
async function laneAt(next: OwnChain, gateway: Address): Promise<Address> {
  const { address } = next.account;
  const { home } = next.house;
  const nowSec = await next.chain.nowSec();
  const open = next.chain.view.lanes(address, gateway).find(({ signer, mode, expirySec }) => {
    return mode === PREPAID && expirySec > nowSec && hasLaneKey(home, signer);
  });
  if (open) return open.signer;
  const key = createKey();
  writeLaneKey(home, key);
  const { chainId, contracts } = next.chain;
  const store = openStore(home, `${chainId}:${contracts.billing}:${gateway}`);
  try {
    store.addLane({ payer: address, signer: key.address });
  } finally {
    store.close();
  }
  const expirySec = nowSec + LANE_LIFE_SEC;
  const terms = { signer: key.address, cap: 1n, expirySec, mode: PREPAID } as const;
  await next.chain.synced(await next.chain.connect(next.account).openLane(gateway, terms));
  return key.address;
}

function lineOf({ gateway, thawingUnits, thawEndSec, movedUnits, lane }: Moved): string {
  if (thawingUnits > 0n) {
    const until = new Date(thawEndSec * 1000).toISOString();
    const calls = lane ? '; calls go to the new set, defaas deposit pays them meanwhile' : '';
    return `${formatTokens(thawingUnits)} tokens at ${gateway} thaw until ${until}, run defaas migrate again then${calls}`;
  }
  return lane
    ? `${formatTokens(movedUnits)} tokens are set aside at ${gateway} in the new set`
    : `${formatTokens(movedUnits)} tokens are in the wallet: ${gateway} does not stand in the new set`;
}
