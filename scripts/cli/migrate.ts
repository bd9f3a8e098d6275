// `defaas migrate --to <set>`: moves an account's money from older contracts to those that replace
// them, at the same gateways. Money set aside thaws first, so the command is run twice. Finished
// steps are not repeated.
import { createKey } from '../../contracts/keystore.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { hasLaneKey, writeLaneKey } from './account.ts';
import { tellTerms } from './before-money.ts';
import { CliError } from './cli-error.ts';
import type { Flags, Outcome } from './context.ts';
import { LANE_LIFE_SEC, PREPAID } from './deposit.ts';
import { type OwnChain, openOwnChain } from './own-chain.ts';
import { openStore } from './store.ts';
import { formatTokens } from './units.ts';

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
      return await move(old, next);
    } finally {
      old.close();
    }
  } finally {
    next.close();
  }
}

async function move(old: OwnChain, next: OwnChain): Promise<Outcome> {
  const { address } = old.account;
  const lines = old.chain.view.lines(address).filter(({ allotted }) => allotted > 0n);
  const freeUnits = old.chain.view.free(address);
  if (lines.length === 0 && freeUnits === 0n) {
    throw new CliError(
      'NOTHING_TO_WITHDRAW',
      `account ${address} has nothing in set ${old.set.id}, see defaas balance`,
    );
  }
  await moveFree(old, next, freeUnits);
  const moved: Moved[] = [];
  for (const { gateway } of lines) moved.push(await moveLine(old, next, gateway));
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

async function moveFree(old: OwnChain, next: OwnChain, units: bigint): Promise<void> {
  if (units === 0n) return;
  const writer = old.chain.connect(old.account);
  await old.chain.synced(await writer.withdraw(old.account.address, units));
  await next.chain.synced(await next.chain.connect(next.account).approveAndDeposit(units));
}

async function moveLine(old: OwnChain, next: OwnChain, gateway: Address): Promise<Moved> {
  const { address } = old.account;
  const writer = old.chain.connect(old.account);
  const { standing = 0n } = next.chain.view.gateway(gateway) ?? {};
  const isServed = standing >= next.chain.constants.minBond;
  const lane = isServed ? await laneAt(next, gateway) : null;
  const line = old.chain.view.line(address, gateway);
  if (!line || line.thawing === 0n) {
    await old.chain.synced(await writer.thaw(gateway, line?.allotted ?? 0n));
  }
  const thawing = old.chain.view.line(address, gateway);
  const thawEndSec = thawing?.thawEndSec ?? 0;
  if (thawEndSec > nowSec(old)) {
    const thawingUnits = thawing?.thawing ?? 0n;
    return { gateway, thawingUnits, thawEndSec, movedUnits: 0n, lane };
  }
  await old.chain.synced(await writer.release(address, gateway));
  const movedUnits = old.chain.view.free(address);
  await old.chain.synced(await writer.withdraw(address, movedUnits));
  if (lane) {
    const other = next.chain.connect(next.account);
    await next.chain.synced(await other.depositAllotOpenLane({ amount: movedUnits, gateway }));
    const { allotted = 0n } = next.chain.view.line(address, gateway) ?? {};
    const { settled = 0n, cap = 0n } = next.chain.view.lane(address, gateway, lane) ?? {};
    if (cap < settled + allotted) {
      const expirySec = nowSec(next) + LANE_LIFE_SEC;
      const terms = { signer: lane, cap: settled + allotted, expirySec };
      await next.chain.synced(await other.extendLane(gateway, terms));
    }
  }
  return { gateway, thawingUnits: 0n, thawEndSec: 0, movedUnits, lane };
}

/**
 * The account's lane in the new set whose key is here, or a new one. Its key is on disk before the
 * chain knows it.
 */
async function laneAt(next: OwnChain, gateway: Address): Promise<Address> {
  const { address } = next.account;
  const { home } = next.house;
  const open = next.chain.view.lanes(address, gateway).find(({ signer, mode, expirySec }) => {
    return mode === PREPAID && expirySec > nowSec(next) && hasLaneKey(home, signer);
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
  const expirySec = nowSec(next) + LANE_LIFE_SEC;
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

/** The chain's time, Unix seconds. A chain that mines on demand may be behind the clock. */
function nowSec({ chain }: OwnChain): number {
  return Math.max(chain.view.head.timestampSec, Math.floor(Date.now() / 1000));
}
