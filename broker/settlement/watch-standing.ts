// Watches what the chain says about this gateway and alerts the operator: slashes, a low bond,
// batches and receipts that this gateway did not make.

import type { SignedReceipt } from '../../contracts/chain/evidence.ts';
import { readProvenReceipt } from '../../contracts/chain/sent-evidence.ts';
import type { Fraud } from '../../contracts/chain/types.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { digestOf } from '../../contracts/libraries/names.ts';
import { followPath } from '../../contracts/libraries/ordered-merkle.ts';
import { hashReceipt } from '../../contracts/libraries/receipts.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { hashReceiptGroup } from '../../contracts/libraries/typed-data.ts';
import type { Gateway } from '../gateway.ts';
import { recoverSigner } from '../identity/ecdsa.ts';

/** Below MIN_BOND x 1.34, one slash of a quarter of the bond stops settlement. */
const LOW_BOND_PERCENT = 134n;
/** Slashes older than this are not reported when a gateway starts, seconds. */
const NEWS_SEC = 7 * 86_400;
const OMISSION = 2;

type Parts = Pick<
  Gateway,
  | 'address'
  | 'alarms'
  | 'chain'
  | 'closing'
  | 'groupSigner'
  | 'keyGuard'
  | 'ledger'
  | 'log'
  | 'nowMs'
>;

export interface StandingWatch {
  /** Looks now. Never rejects. */
  look(): Promise<void>;
  close(): void;
}

export function watchStanding(gateway: Parts): StandingWatch {
  const { address, alarms, chain, log, nowMs } = gateway;
  const told = new Set<string>();
  let knownBatches = 0;
  let running: Promise<void> | undefined;

  const lookAtFrauds = async (): Promise<void> => {
    for (const fraud of chain.view.frauds(address)) {
      const name = `${fraud.id} ${fraud.blockNumber}`;
      const isOld = fraud.timestampSec < nowMs() / 1000 - NEWS_SEC;
      if (told.has(name) || isOld) continue;
      await tellFraud(fraud);
      told.add(name);
    }
  };

  const tellFraud = async (fraud: Fraud): Promise<void> => {
    const { id, kind, slashed, batch, claim } = fraud;
    const why = `D${kind} was proven on claim ${claim} of batch ${batch}: ${formatTokens(slashed)} tokens of the bond are lost`;
    alarms.raise('BOND_SLASHED', id, `${why}, look at what was settled and at the keys`);
    if (kind !== OMISSION) return;
    const signed = await readProvenReceipt(chain, fraud);
    if (signed) await reportSigned(gateway, signed, `D2 in block ${fraud.blockNumber}`);
  };

  const lookAtBatches = async (): Promise<void> => {
    const batches = chain.view.batches(address);
    if (batches.length < knownBatches) knownBatches = 0;
    const fresh = batches.slice(knownBatches);
    if (fresh.length === 0) return;
    const own = new Set((await gateway.ledger.batches()).map(({ cid }) => digestOf(cid).digest));
    for (const { batch, cidDigest, tx } of fresh) {
      if (own.has(cidDigest)) continue;
      const why = `batch ${batch} (transaction ${tx}) is not in the ledger: it was restored from an older copy, or the settler key was stolen: then set another settler at once`;
      alarms.raise('BATCH_UNKNOWN', `${batch}`, why);
    }
    knownBatches = batches.length;
  };

  const lookAtBond = (): void => {
    const standing = chain.view.gateway(address);
    if (standing === undefined || standing.bond === 0n) return;
    const left = standing.standing;
    const least = (chain.constants.minBond * LOW_BOND_PERCENT) / 100n;
    if (left >= least) {
      alarms.clear('BOND_LOW');
      return;
    }
    const why = `the bond is ${formatTokens(left)} tokens, less than 1.34 x MIN_BOND (${formatTokens(least)}): one slash may stop the settlement, bond more`;
    alarms.raise('BOND_LOW', address, why);
  };

  /**
   * Clear the alarm of a stolen key once the gateway no longer uses it and the chain no longer
   * accepts it.
   */
  const lookAtKeys = (): void => {
    for (const { kind, about } of alarms.list()) {
      const key = gateway.chain.view.operatorKeys(address).find((one) => one.key === about);
      const isEnded = about !== gateway.groupSigner.key && key?.untilSec !== 0;
      if (kind === 'KEY_STOLEN' && isEnded) alarms.clear(kind, about);
    }
  };

  const run = async (): Promise<void> => {
    try {
      lookAtBond();
      lookAtKeys();
      await lookAtBatches();
      await lookAtFrauds();
    } catch (err) {
      if (!gateway.closing.aborted) log.error({ err }, 'the gateway’s standing could not be read');
    }
    running = undefined;
  };
  const look = (): Promise<void> => {
    running ??= run();
    return running;
  };
  const stop = chain.onBlock(() => void look());
  void look();
  return { look, close: stop };
}

/**
 * Handles a receipt submitted as evidence. If an operator key of this gateway signed it and the
 * ledger does not have it, the key is stolen.
 * @returns undefined if no key of this gateway signed it; otherwise whether the ledger has it
 */
export async function reportSigned(
  { address, chain, keyGuard, ledger }: Pick<Parts, 'address' | 'chain' | 'keyGuard' | 'ledger'>,
  signed: SignedReceipt,
  how: string,
): Promise<{ readonly key: Address; readonly isKnown: boolean } | undefined> {
  const id = hashReceipt(signed.receipt);
  const root = followPath(id, signed.index, signed.count, signed.path);
  if (root === undefined || signed.receipt.gateway !== address) return undefined;
  const group = { gateway: address, root, count: signed.count };
  const key = recoverSigner(hashReceiptGroup(chain.domain, group), signed.signature);
  const isOurs = chain.view.operatorKeys(address).some((known) => known.key === key);
  if (key === undefined || !isOurs) return undefined;
  const isKnown = (await ledger.entry(id)) !== undefined;
  if (!isKnown) keyGuard.stop(key, `receipt ${id} is not in the ledger, ${how}`);
  return { key, isKnown };
}
