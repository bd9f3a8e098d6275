// Read calls of Disputes: checks of evidence, demands, paid and remaining amounts, and the terms.

import type { Address, Hex } from '../libraries/keccak.ts';
import { callOf, type Evidence, FRAUD_KIND } from './evidence.ts';
import { toAddress } from './replay.ts';
import type { ReadContract } from './types.ts';

/** Fixed terms of Disputes. Amounts in base units, times in seconds. */
export interface DisputeTerms {
  readonly demandPledge: bigint;
  readonly demandWindowSec: number;
  readonly answerWindowSec: number;
  readonly proofWindowSec: number;
  /** Minimum slash of D2 and D3, D4 and D5, D6, D9. */
  readonly floors: Readonly<Record<'grave' | 'charge' | 'misroute' | 'silence', bigint>>;
}

export interface StoredDemand {
  readonly demander: Address;
  readonly deadlineSec: number;
  readonly index: number;
}

export interface DisputeReads {
  readTerms(): Promise<DisputeTerms>;
  /**
   * Checks whether evidence shows a fraud, and returns the damage in base units. Sends nothing.
   * @throws ChainError CHAIN_REVERTED  InvalidProof: it does not hold together
   * @throws ChainError CHAIN_REVERTED  WindowClosed: the batch is too old
   */
  check(evidence: Evidence): Promise<{ readonly isFraud: boolean; readonly damage: bigint }>;
  /** The demand: undefined if there is none, 'answered' after an answer. */
  demandOf(id: Hex): Promise<StoredDemand | 'answered' | undefined>;
  isProven(id: Hex): Promise<boolean>;
  /** Amount the payer got for one fraud id, base units. */
  paidOf(id: Hex): Promise<bigint>;
  /** Amount the payer got for a claim over all fraud ids, base units. */
  repaidOf(gateway: Address, batch: number, claim: number): Promise<bigint>;
  /** Capped slashes in the current bucket and the one before, base units. */
  bucketOf(gateway: Address): Promise<{ readonly current: bigint; readonly previous: bigint }>;
  /** Amount that the cap still allows to slash from a bond now, base units. */
  roomOf(gateway: Address): Promise<bigint>;
}

export function createDisputeReads({ read }: { readonly read: ReadContract }): DisputeReads {
  const ask = async (method: string, ...args: unknown[]) =>
    (await read('disputes', method, args))[0];

  return {
    readTerms: async () => {
      const floorOf = (kind: number): Promise<bigint> => ask('floorOf', kind);
      const [demandPledge, demandWindow, answerWindow, proofWindow] = await Promise.all(
        ['DEMAND_PLEDGE', 'DEMAND_WINDOW', 'ANSWER_WINDOW', 'PROOF_WINDOW'].map((name) =>
          ask(name),
        ),
      );
      const [grave, charge, misroute, silence] = await Promise.all([
        floorOf(FRAUD_KIND.break),
        floorOf(FRAUD_KIND.overcharge),
        floorOf(FRAUD_KIND.misroute),
        floorOf(FRAUD_KIND.silence),
      ]);
      return {
        demandPledge,
        demandWindowSec: Number(demandWindow),
        answerWindowSec: Number(answerWindow),
        proofWindowSec: Number(proofWindow),
        floors: { grave, charge, misroute, silence },
      };
    },
    check: async (evidence) => {
      const { name, args } = callOf(evidence);
      const [isFraud, damage] = await read('disputes', `check${name}`, args);
      return { isFraud: isFraud === true, damage };
    },
    demandOf: async (id) => {
      const { demander, deadline, index } = await ask('demandOf', id);
      if (deadline === 0n) return undefined;
      if (deadline === ANSWERED) return 'answered';
      const deadlineSec = Number(deadline);
      return { demander: toAddress(demander), deadlineSec, index: Number(index) };
    },
    isProven: async (id) => (await ask('isProven', id)) === true,
    paidOf: (id) => ask('paidOf', id),
    repaidOf: (gateway, batch, claim) => ask('repaidOf', gateway, batch, claim),
    bucketOf: async (gateway) => {
      const { current, previous } = await ask('bucketOf', gateway);
      return { current, previous };
    },
    roomOf: (gateway) => ask('roomOf', gateway),
  };
}

/** Value of `deadline` that marks an answered demand. */
const ANSWERED = 1n;
