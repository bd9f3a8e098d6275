// What secures the money that payers set aside at a gateway, from the chain alone: its bond, the
// sum set aside there, its record.
import type { ChainView } from '../../contracts/chain/types.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';

/**
 * A provable lie costs a gateway more than it gains as long as all it can take is at most 7/12 of
 * its bond. The other 5/12 of a slash come back to a gateway that proves its own lie under another
 * name.
 */
const AT_STAKE = { numerator: 7n, denominator: 12n } as const;
const PERCENT = 100n;

/** Amounts in base units. */
export interface Coverage {
  readonly gateway: Address;
  /** The bond, without the amount that is unbonding. */
  readonly bondUnits: bigint;
  /** The part of it that every provable lie puts at stake: 7/12. */
  readonly atStakeUnits: bigint;
  /**
   * What all payers have set aside there. The gateway cannot take more, whatever was signed for it.
   */
  readonly linesUnits: bigint;
  /**
   * `linesUnits` in percent of `atStakeUnits`, rounded up; above 100 a lie may pay. Undefined:
   * nothing is at stake.
   */
  readonly usedPercent: number | undefined;
  readonly slashes: number;
  readonly slashedUnits: bigint;
  /** When the account was registered, Unix seconds; undefined if it never was. */
  readonly sinceSec: number | undefined;
}

/**
 * `moreUnits` is what the caller is about to set aside there.
 * @example coverageOf(chain.view, gateway, 5_000_000n)
 */
export function coverageOf(
  view: Pick<ChainView, 'gateway' | 'party' | 'exposure'>,
  gateway: Address,
  moreUnits = 0n,
): Coverage {
  const { standing: bondUnits = 0n } = view.gateway(gateway) ?? {};
  const { lines, slashed, slashes } = view.exposure(gateway);
  const atStakeUnits = (bondUnits * AT_STAKE.numerator) / AT_STAKE.denominator;
  const linesUnits = lines + moreUnits;
  return {
    gateway,
    bondUnits,
    atStakeUnits,
    linesUnits,
    usedPercent:
      atStakeUnits === 0n
        ? undefined
        : Number((linesUnits * PERCENT + atStakeUnits - 1n) / atStakeUnits),
    slashes,
    slashedUnits: slashed,
    sinceSec: view.party(gateway)?.sinceSec,
  };
}
