// Outcome of one game of the bench, in the terms of the rules of trust.

/**
 * Outcome of a game. Amounts in token units, shares from 0 to 1. A figure that the game does not
 * show is left out.
 */
export interface Outcome {
  /** Gain of the gateway and its friends over honest service, less what no evidence could show. */
  readonly lieProfitUnits?: bigint;
  /** What proven victims did not get back though the bond was large enough. */
  readonly victimsUnpaidUnits?: bigint;
  /** What an honest gateway has less than it earned. */
  readonly honestLossUnits?: bigint;
  /** What a payer lost beyond its allowance. */
  readonly payerLossUnits?: bigint;
  /** Of the bond, in any DEMAND_WINDOW. */
  readonly keyTheftBurnShare?: number;
  /** Of the bond, as long as evidence by the key is accepted. */
  readonly keyTheftTailShare?: number;
  /** Of the slashed sum. */
  readonly keyTheftGainShare?: number;
  /** What comes back to a gateway that slashes itself, of the slashed sum. */
  readonly launderShare?: number;
}
