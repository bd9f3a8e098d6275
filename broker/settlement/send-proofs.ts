// Chooses which frauds of other gateways this gateway proves at its own cost, and in which order.
// Thousands of tiny frauds must not use up the balance that it needs to answer demands.
import { createDisputeReads } from '../../contracts/chain/dispute-reads.ts';
import type { Evidence } from '../../contracts/chain/evidence.ts';
import { fraudName } from '../client/exhibits.ts';
import type { Found } from '../client/find-frauds.ts';
import { weighProof } from '../client/weigh-proof.ts';
import type { Gateway } from '../gateway.ts';
import { reservedWei } from './answer-demands.ts';
import { unitsOfWei } from './gas-units.ts';

/** Maximum number of proofs sent per look. */
export const MAX_PROOFS = 16;
/** Maximum number of frauds evaluated per look. */
const MAX_WEIGHED = 4 * MAX_PROOFS;

type Parts = Pick<Gateway, 'account' | 'address' | 'chain' | 'config' | 'log'>;

/** Why a fraud that was found is not proven. */
export type Unsent = 'worth less than its gas' | 'beyond what one look proves' | 'for want of gas';

export type Provable = Omit<Found, 'evidence'> & { readonly evidence: Evidence };

export interface Proofs {
  /** Keeps it if its damage is among the largest. */
  add(found: Provable): void;
  /**
   * Proves the frauds that are worth their gas, largest damage first. Leaves enough in the account
   * for answers to demands. A refusal by the chain is logged: another reporter may have been
   * faster.
   * @returns the number of frauds not sent, by gateway and reason
   * @throws ChainError CHAIN_UNREACHABLE
   */
  send(): Promise<ReadonlyMap<string, ReadonlyMap<Unsent, number>>>;
}

export function createProofs(gateway: Parts): Proofs {
  const { account, chain, config, log } = gateway;
  const disputes = createDisputeReads(chain);
  const kept: Provable[] = [];
  const unsent = new Map<string, Map<Unsent, number>>();

  const leave = ({ evidence }: Provable, why: Unsent): void => {
    const { gateway: accused } = placeOf(evidence);
    const counts = unsent.get(accused) ?? new Map<Unsent, number>();
    unsent.set(accused, counts.set(why, (counts.get(why) ?? 0) + 1));
  };

  /** Why it is not sent now; undefined if it is sent. */
  const weigh = async ({ evidence, damage }: Provable): Promise<Unsent | undefined> => {
    const [{ toReporterUnits }, { gas }, fees, balance] = await Promise.all([
      weighProof(chain, disputes, evidence, damage),
      account.estimateProof(evidence),
      chain.provider.getFeeData(),
      chain.provider.getBalance(account.address),
    ]);
    const { gasPrice } = fees;
    // On a chain with free gas, prove it even without a reward, to have it on record.
    if (gasPrice === null || gasPrice === 0n) return undefined;
    const costUnits = unitsOfWei(config, gas * gasPrice);
    if (toReporterUnits === 0n || toReporterUnits < costUnits) return 'worth less than its gas';
    const wei = gas * (fees.maxFeePerGas ?? gasPrice);
    return balance - wei < reservedWei(gateway, gasPrice) ? 'for want of gas' : undefined;
  };

  const prove = async (found: Provable): Promise<boolean> => {
    const { evidence } = found;
    const { gateway: accused, batch } = placeOf(evidence);
    const about = `${fraudName(evidence.kind)} of gateway ${accused} in batch ${batch}`;
    try {
      const why = await weigh(found);
      if (why !== undefined) {
        leave(found, why);
        return false;
      }
      const { tx, slashed } = await account.prove(evidence);
      log.info({ tx, slashed: `${slashed}`, about }, 'the fraud of another gateway was proven');
      return true;
    } catch (err) {
      log.warn({ err, about }, 'the fraud of another gateway was not proven');
      return false;
    }
  };

  return {
    add: (found) => {
      const smaller = kept.findIndex(({ damage }) => damage < found.damage);
      kept.splice(smaller < 0 ? kept.length : smaller, 0, found);
      const last = kept.length > MAX_WEIGHED ? kept.pop() : undefined;
      if (last !== undefined) leave(last, 'beyond what one look proves');
    },
    send: async () => {
      let sent = 0;
      for (const found of kept.splice(0)) {
        if (sent === MAX_PROOFS) leave(found, 'beyond what one look proves');
        else if (await prove(found)) sent += 1;
      }
      return unsent;
    },
  };
}

/** The place of the fraud in its batch. */
export function placeOf(evidence: Found['evidence']) {
  return evidence.kind === 'duplicate' ? evidence.laterPlace : evidence.place;
}
