// What each gateway owes the account: the sums on the chain, the gateway's newest signed voucher,
// and which of its vouchers its float covers.

import { fetchBlock } from '../../broker/client/artifacts.ts';
import { audit as replay } from '../../broker/client/audit.ts';
import { connect, setOf } from '../../broker/client/connection.ts';
import { DefaasClientError } from '../../broker/client/errors.ts';
import {
  fetchPayouts,
  type PayeeStatement,
  type PayoutVoucher,
  payoutSigner,
} from '../../broker/client/payouts.ts';
import { recoverSigner } from '../../broker/identity/ecdsa.ts';
import { shortfallsOf } from '../../broker/settlement/shortfalls.ts';
import type { GatewayStanding } from '../../contracts/chain/types.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import type { Flags } from './context.ts';
import type { OwnChain } from './own-chain.ts';
import { openStore } from './store.ts';
import { acceptGateway } from './trust.ts';

/** Longest wait for one gateway, ms. */
const ASK_MS = 5_000;
/** Number of vouchers fetched: the float may cover an earlier one. */
const PAGE = 50;
/** Most gateways asked in parallel. */
const ASKED_AT_ONCE = 8;

export interface Owed {
  readonly gateway: Address;
  readonly uri: string;
  readonly creditedUnits: bigint;
  readonly paidOutUnits: bigint;
  /** Paid from the float and not yet paid back by a batch. */
  readonly advancedUnits: bigint;
  readonly claimableUnits: bigint;
  /** What the gateway has set aside for the account. */
  readonly floatUnits: bigint;
  /** The newest voucher. */
  readonly voucher: { readonly cumulativeUnits: bigint; readonly isAccepted: boolean } | null;
  /** What settled batches owe and have not credited, by the gateway's own statement. */
  readonly shortfallUnits: bigint;
  /** What batches owe by their receipts and did not credit; null: not audited. */
  readonly auditedShortUnits: bigint | null;
  /** Whether the gateway answered now. */
  readonly answered: boolean;
  /** The highest voucher with which `collect` would succeed now. */
  readonly best: PayoutVoucher | undefined;
}

/**
 * Reads the gateway that `--gateway` names, else all gateways on the chain that are involved with
 * the account.
 */
export async function owedBy(
  flags: Flags,
  own: OwnChain,
  { audit = false }: { readonly audit?: boolean } = {},
): Promise<readonly Owed[]> {
  const { chain, account, house } = own;
  const used = await gatewayInUse(flags, own);
  const isNamed = flags.gateway !== undefined && used !== undefined;
  const isOwing = (gateway: Address): boolean =>
    chain.view.due(gateway, account.address).credited > 0n ||
    (chain.view.line(gateway, account.address)?.allotted ?? 0n) > 0n;
  const known = chain.view
    .gateways()
    .filter(({ address }) => address === used?.address || (!isNamed && isOwing(address)));
  const found: Owed[] = [];
  for (let i = 0; i < known.length; i += ASKED_AT_ONCE) {
    const asked = known.slice(i, i + ASKED_AT_ONCE).map(async (standing) => {
      const url = standing.address === used?.address ? house.gateway : standing.uri;
      return describe(own, standing, await ask(own, standing.address, url, audit));
    });
    found.push(...(await Promise.all(asked)));
  }
  return found.filter(
    (one) => one.voucher !== null || one.creditedUnits > 0n || one.floatUnits > 0n,
  );
}

/** The account of the gateway in use: its own claim, or its registration if it does not answer. */
async function gatewayInUse(
  flags: Flags,
  { house, trust, confirmed, chain }: OwnChain,
): Promise<{ readonly address: Address } | undefined> {
  const { gateway: url, home } = house;
  try {
    const { document } = await connect(url, {
      trust,
      accept: (claim) => acceptGateway(flags, { home, chainId: trust.chainId }, confirmed, claim),
      allowRevoked: true,
      signal: AbortSignal.timeout(ASK_MS),
    });
    return { address: document.gateway };
  } catch (error) {
    if (!isAway(error)) throw error;
    const origin = URL.canParse(url) ? new URL(url).origin : url;
    return chain.view
      .gateways()
      .find(({ uri }) => URL.canParse(uri) && new URL(uri).origin === origin);
  }
}

interface Said extends PayeeStatement {
  readonly auditedShortUnits?: bigint;
}

/** Undefined if it does not answer or is not the expected gateway. */
async function ask(
  { trust, account, chain, set }: OwnChain,
  gateway: Address,
  url: string,
  isAudited: boolean,
): Promise<Said | undefined> {
  try {
    const signal = AbortSignal.timeout(ASK_MS);
    const chooseSet = setOf(set.contracts.billing);
    const options = { trust, gateway, chooseSet, allowRevoked: true, signal };
    const connection = await connect(url, options);
    const statement = await fetchPayouts(connection, account.address, { limit: PAGE });
    if (!isAudited) return statement;
    const { findings } = await replay({
      recover: recoverSigner,
      view: chain.view,
      domain: chain.domain,
      getBlock: (cid) => fetchBlock(connection, cid),
      gateway,
    });
    const short = shortfallsOf(findings).find(({ payee }) => payee === account.address);
    return { ...statement, auditedShortUnits: short?.units ?? 0n };
  } catch (error) {
    if (isAway(error) || error instanceof DefaasClientError) return undefined;
    throw error;
  }
}

function isAway(error: unknown): boolean {
  if (error instanceof DefaasClientError) return error.code === 'GATEWAY_UNREACHABLE';
  return error instanceof Error && (error.name === 'TimeoutError' || error.name === 'AbortError');
}

function describe(
  own: OwnChain,
  { address: gateway, uri }: GatewayStanding,
  said: Said | undefined,
): Owed {
  const { chain, account } = own;
  const payee = account.address;
  const due = chain.view.due(gateway, payee);
  const floatUnits = chain.view.line(gateway, payee)?.allotted ?? 0n;
  const vouchers = remembered(own, gateway, said);
  const isAccepted = (voucher: PayoutVoucher): boolean => {
    const key = payoutSigner(chain.domain, { gateway, payee }, voucher);
    return key !== undefined && chain.view.isKeyInForce(key, gateway);
  };
  const newest = said?.voucher ?? vouchers[0];
  const settled = said?.batches.find(({ state }) => state === 'settled');
  const shortfall = (settled?.cumulativeUnits ?? 0n) - due.credited;
  return {
    gateway,
    uri,
    creditedUnits: due.credited,
    paidOutUnits: due.withdrawn,
    advancedUnits: due.advanced,
    claimableUnits: due.credited - due.withdrawn,
    floatUnits,
    voucher: newest
      ? { cumulativeUnits: newest.cumulativeUnits, isAccepted: isAccepted(newest) }
      : null,
    shortfallUnits: shortfall > 0n ? shortfall : 0n,
    auditedShortUnits: said?.auditedShortUnits ?? null,
    answered: said !== undefined,
    best: vouchers.find((voucher) => {
      const open = voucher.cumulativeUnits - due.credited;
      return open > 0n && open <= floatUnits && isAccepted(voucher);
    }),
  };
}

/** All known vouchers, highest first. They are stored, because a gateway may stop showing them. */
function remembered(
  { house, chain, account }: OwnChain,
  gateway: Address,
  said: PayeeStatement | undefined,
): readonly PayoutVoucher[] {
  const { chainId, contracts } = chain;
  const store = openStore(house.home, `${chainId}:${contracts.billing}:${gateway}`);
  try {
    if (said) {
      const signed = said.batches.flatMap(({ cumulativeUnits, signature }) =>
        signature === undefined ? [] : [{ cumulativeUnits, signature }],
      );
      store.putPayouts(account.address, [...signed, ...(said.voucher ? [said.voucher] : [])]);
    }
    return store.payouts(account.address);
  } finally {
    store.close();
  }
}
