// Gateways and providers: their bonds and fees in Billing, their endpoints and operator keys in
// Identity.

import type { Address } from '../../libraries/keccak.ts';
import { listOf, type Replay, toAddress } from '../replay.ts';
import type { ChainView, GatewayStanding, OperatorKey, Party } from '../types.ts';
import type { History } from './history.ts';

type Parties = Pick<
  ChainView,
  'gateway' | 'gateways' | 'party' | 'operatorKeys' | 'isKeyInForce'
> & {
  /** The fee in force at a given time, basis points. */
  feeAt(gateway: Address, timestampSec: number): number;
};

/** Identity's bits of a party's or key's role. */
const ROLE_GATEWAY = 1;
const NO_ACCOUNT = `0x${'00'.repeat(20)}`;
const NO_THUMBPRINT = `0x${'00'.repeat(32)}` as const;

/**
 * The stored part of a GatewayBond; the fee in force and the amount at stake depend on the time of
 * the query.
 */
type Bond = Omit<GatewayStanding, 'address' | 'uri' | 'jwksThumbprint' | 'atStake' | 'standing'>;
const NO_BOND: Bond = {
  bond: 0n,
  unbonding: 0n,
  unbondEndSec: 0,
  settleUntilSec: 0,
  feeBps: 0,
  nextFeeBps: 0,
  feeFromSec: 0,
  settler: undefined,
  batches: 0,
};

interface PartiesOptions {
  readonly history: History;
  readonly nowSec: () => number;
}

export function createParties(options: PartiesOptions): { queries: Parties; replay: Replay } {
  const { history, nowSec } = options;
  const bonds = new Map<Address, Bond>();
  const parties = new Map<Address, Party>();
  const keys = new Map<Address, OperatorKey & { readonly party: Address }>();
  const keysByParty = new Map<Address, Address[]>();

  const changeBond = (gateway: string, change: (bond: Bond) => Partial<Bond>): void => {
    const at = toAddress(gateway);
    const known = bonds.get(at) ?? NO_BOND;
    history.set(bonds, at, { ...known, ...change(known) });
  };

  const replay: Replay = {
    billing: {
      BatchSettled: ({ gateway, batch, fee }) =>
        changeBond(gateway, ({ bond }) => ({ bond: bond + fee, batches: Number(batch) + 1 })),
      Bonded: ({ gateway, bond }) => changeBond(gateway, () => ({ bond })),
      Unbonding: ({ gateway, amount, end, settleUntil }) =>
        changeBond(gateway, () => ({
          unbonding: amount,
          unbondEndSec: Number(end),
          settleUntilSec: Number(settleUntil),
        })),
      Left: ({ gateway, amount }) =>
        changeBond(gateway, ({ bond }) => ({
          bond: bond - amount,
          unbonding: 0n,
          unbondEndSec: 0,
        })),
      Slashed: ({ gateway, amount, unbondEnd, settleUntil }) =>
        changeBond(gateway, ({ bond }) => ({
          bond: bond - amount,
          unbondEndSec: Number(unbondEnd),
          settleUntilSec: Number(settleUntil),
        })),
      FeeAnnounced: ({ gateway, bps, from }, { timestampSec }) =>
        changeBond(gateway, (known) => ({
          feeBps: feeOf(known, timestampSec),
          nextFeeBps: Number(bps),
          feeFromSec: Number(from),
        })),
      SettlerSet: ({ gateway, settler }) =>
        changeBond(gateway, () => ({
          settler: settler === NO_ACCOUNT ? undefined : toAddress(settler),
        })),
    },
    identity: {
      PartyRegistered: ({ party, roles, uri, jwksThumbprint }, { timestampSec }) => {
        const address = toAddress(party);
        const since = { sinceSec: timestampSec };
        history.set(parties, address, {
          address,
          roles: Number(roles),
          uri,
          jwksThumbprint,
          ...since,
        });
      },
      PartyUpdated: ({ party, roles, uri, jwksThumbprint }) => {
        const known = parties.get(toAddress(party));
        if (known === undefined) return;
        const changes = { roles: Number(roles), uri, jwksThumbprint };
        history.set(parties, known.address, { ...known, ...changes });
      },
      KeyAdded: ({ party, key, role }, { timestampSec }) => {
        const at = toAddress(key);
        const times = { fromSec: timestampSec, untilSec: 0 };
        history.set(keys, at, { key: at, party: toAddress(party), role: Number(role), ...times });
        history.push(listOf(keysByParty, toAddress(party)), at);
      },
      KeyRetired: ({ key, until }) => {
        const known = keys.get(toAddress(key));
        if (known) history.set(keys, known.key, { ...known, untilSec: Number(until) });
      },
    },
  };

  const gateway = (address: Address): GatewayStanding | undefined => {
    const bond = bonds.get(address);
    const party = parties.get(address);
    const isGateway = party !== undefined && (party.roles & ROLE_GATEWAY) !== 0;
    if (bond === undefined && !isGateway) return undefined;
    const known = bond ?? NO_BOND;
    const { uri = '', jwksThumbprint = NO_THUMBPRINT } = party ?? {};
    const now = nowSec();
    const standing = standingBond(known);
    const atStake = now >= known.unbondEndSec ? standing : known.bond;
    const feeBps = feeOf(known, now);
    return { ...known, address, uri, jwksThumbprint, feeBps, atStake, standing };
  };

  const queries: Parties = {
    gateway,
    gateways: () =>
      [...new Set([...parties.keys(), ...bonds.keys()])].flatMap((at) => gateway(at) ?? []),
    party: (address) => parties.get(address),
    operatorKeys: (party) => (keysByParty.get(party) ?? []).flatMap((key) => keys.get(key) ?? []),
    isKeyInForce: (key, party, role = ROLE_GATEWAY) => {
      const known = keys.get(key);
      if (known === undefined || known.party !== party || (known.role & role) !== role)
        return false;
      return known.untilSec === 0 || nowSec() <= known.untilSec;
    },
    feeAt: (address, timestampSec) => feeOf(bonds.get(address) ?? NO_BOND, timestampSec),
  };
  return { queries, replay };
}

/** The standing part of a bond: `bond` less `unbonding`, as Billing computes it. */
export function standingBond({ bond, unbonding }: Pick<Bond, 'bond' | 'unbonding'>): bigint {
  return bond > unbonding ? bond - unbonding : 0n;
}

function feeOf({ feeBps, nextFeeBps, feeFromSec }: Bond, timestampSec: number): number {
  return timestampSec >= feeFromSec ? nextFeeBps : feeBps;
}
