// Audits a sample of other gateways' batches. Honest batches bring no reward, so nobody else might
// look. Public data is judged as in the audit, and punishable fraud is proven if that is worth its
// gas.

import { createHmac, randomBytes } from 'node:crypto';
import type { SettledBatch } from '../../contracts/chain/types.ts';
import { fetchBlockAt } from '../client/artifacts.ts';
import type { GetBlock } from '../client/batch.ts';
import { fraudName } from '../client/exhibits.ts';
import { type Found, findFrauds } from '../client/find-frauds.ts';
import type { Gateway } from '../gateway.ts';
import { recoverSigner } from '../identity/ecdsa.ts';
import { createProofs, type Proofs, placeOf } from './send-proofs.ts';

/** Interval between looks for new batches, ms. */
const LOOK_EVERY_MS = 600_000;
/** Time that a gateway has to make its batch available, seconds. */
const PATIENCE_SEC = 600;

type Parts = Pick<
  Gateway,
  'account' | 'address' | 'alarms' | 'artifacts' | 'chain' | 'closing' | 'config' | 'log' | 'nowMs'
>;

export interface OthersWatch {
  /** Looks now. Never rejects. */
  look(): Promise<void>;
  close(): void;
}

/** Checks `watchSamplePercent` of the batches of all other gateways, each batch once. */
export function watchOthers(gateway: Parts): OthersWatch {
  const { address, alarms, chain, config, log, nowMs } = gateway;
  const seen = new Set<string>();
  const secret = randomBytes(32);
  let running: Promise<void> | undefined;

  const isDue = (batch: SettledBatch): boolean => {
    const isOld = Math.max(chain.view.head.timestampSec, nowMs() / 1000) - batch.timestampSec;
    return (
      batch.gateway !== address &&
      isOld >= PATIENCE_SEC &&
      !seen.has(batch.tx) &&
      isSampled(batch, secret, config.watchSamplePercent)
    );
  };

  const lookOnce = async (): Promise<void> => {
    const due = new Set(chain.view.batches().filter(isDue));
    if (due.size === 0) return;
    const getBlock = (of: SettledBatch['gateway']) => blocksOf(gateway, of);
    const proofs = createProofs(gateway);
    for await (const found of findFrauds({
      chain,
      getBlock,
      recover: recoverSigner,
      isWanted: (one) => due.has(one),
    })) {
      tell(found);
      const { evidence } = found;
      // A demand costs a deposit, so leave it to the payer.
      if (evidence.kind !== 'withheld') proofs.add({ ...found, evidence });
    }
    for (const { tx } of due) seen.add(tx);
    tellUnsent(await proofs.send());
    log.info({ batches: due.size }, 'batches of other gateways were watched');
  };

  const tell = ({ evidence, message, damage }: Found): void => {
    const place = placeOf(evidence);
    const about = `${fraudName(evidence.kind)} of gateway ${place.gateway} in batch ${place.batch}`;
    const why = `${about}, damage ${damage}: ${message}`;
    alarms.raise('FRAUD_FOUND', `${place.gateway} ${place.batch} ${evidence.kind}`, why);
  };

  const tellUnsent = (unsent: Awaited<ReturnType<Proofs['send']>>): void => {
    for (const [accused, counts] of unsent) {
      const what = [...counts].map(([reason, count]) => `${count} ${reason}`).join(', ');
      const why = `frauds of gateway ${accused} are not proven: ${what}; defaas watch --all proves them from an account of yours`;
      alarms.raise('FRAUD_FOUND', `${accused} unproven`, why);
    }
  };

  const run = async (): Promise<void> => {
    try {
      await lookOnce();
    } catch (err) {
      if (!gateway.closing.aborted) log.error({ err }, 'other gateways could not be watched');
    }
    running = undefined;
  };
  const look = (): Promise<void> => {
    running ??= run();
    return running;
  };
  const timer = setInterval(() => void look(), LOOK_EVERY_MS).unref();
  return { look, close: () => clearInterval(timer) };
}

/**
 * Selects batches by a hash keyed with a secret of this process. A gateway can try roots until they
 * suit it, so nothing known to it may decide which batches are checked.
 */
function isSampled({ root, tx }: SettledBatch, secret: Buffer, percent: number): boolean {
  const hash = createHmac('sha256', secret).update(`${root} ${tx}`).digest();
  return hash.readUInt32BE() % 100 < percent;
}

/**
 * Fetches blocks from this node and its peers, otherwise from the URI that the other gateway has
 * registered.
 */
function blocksOf(
  { artifacts, chain, closing, config }: Parts,
  gateway: SettledBatch['gateway'],
): GetBlock {
  const uri = chain.view.party(gateway)?.uri ?? '';
  // The URI comes from a stranger: use it only if it cannot reach this machine's own network.
  const isReachable = uri.startsWith('https:') || config.chainLocalFromBlock !== undefined;
  return async (cid) => {
    try {
      return await artifacts.block(cid, { signal: closing });
    } catch (error) {
      if (!isReachable || !URL.canParse(uri)) throw error;
      return fetchBlockAt(new URL(uri).origin, cid);
    }
  };
}
