// Computes the outcome of a proof before it is sent: the damage left to pay, and what would be
// slashed and paid now. It follows Disputes.
import type { DisputeReads } from '../../contracts/chain/dispute-reads.ts';
import { type Evidence, FRAUD_KIND, proofIdOf } from '../../contracts/chain/evidence.ts';
import type { Chain } from '../../contracts/chain.ts';

export interface Left {
  /** True if nothing was proven under this id before. */
  readonly isFirst: boolean;
  /** The part of the damage that the payer has not received yet, base units. */
  readonly leftUnits: bigint;
}

/** Base units. */
export interface Weight {
  readonly slashedUnits: bigint;
  readonly toPayerUnits: bigint;
  readonly toReporterUnits: bigint;
}

/** @throws ChainError CHAIN_UNREACHABLE */
export async function readLeft(
  disputes: Pick<DisputeReads, 'isProven' | 'paidOf' | 'repaidOf'>,
  evidence: Evidence,
  damage: bigint,
): Promise<Left> {
  const place = evidence.kind === 'duplicate' ? evidence.laterPlace : evidence.place;
  const id = proofIdOf(evidence);
  const [isProven, paid, repaid] = await Promise.all([
    disputes.isProven(id),
    disputes.paidOf(id),
    disputes.repaidOf(place.gateway, place.batch, place.claim),
  ]);
  const ofClaim = place.settledTo - place.settledFrom - repaid;
  return { isFirst: !isProven, leftUnits: least(excess(damage, paid), ofClaim) };
}

/** The outcome as of the newest block. @throws as above */
export async function weighProof(
  chain: Pick<Chain, 'read'>,
  disputes: DisputeReads,
  evidence: Evidence,
  damage: bigint,
): Promise<Weight> {
  const place = evidence.kind === 'duplicate' ? evidence.laterPlace : evidence.place;
  const { isFirst, leftUnits } = await readLeft(disputes, evidence, damage);
  const [{ floors }, room, [bond]] = await Promise.all([
    disputes.readTerms(),
    disputes.roomOf(place.gateway),
    chain.read('billing', 'standing', [place.gateway]),
  ]);
  const kind = FRAUD_KIND[evidence.kind];
  const floor = {
    2: floors.grave,
    3: floors.grave,
    4: floors.charge,
    5: floors.charge,
    6: floors.misroute,
  }[kind];
  const wanted = isFirst && floor > 3n * leftUnits ? floor : 3n * leftUnits;
  const untied = kind === FRAUD_KIND.omission ? 0n : 3n * leftUnits;
  const slashed = least(bond, untied + least(wanted - untied, room));
  return {
    slashedUnits: slashed,
    toPayerUnits: least(leftUnits, slashed / 3n),
    toReporterUnits: slashed / 12n,
  };
}

function excess(have: bigint, due: bigint): bigint {
  return have > due ? have - due : 0n;
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
