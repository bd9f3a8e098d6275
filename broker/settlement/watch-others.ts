// A gateway looks at a sample of what other gateways settle: an honest one brings nobody a reward,
// so nobody else might look. What is public is judged as the audit does, and what the chain would
// punish is proven, as far as that is worth its gas.

import { createHmac, randomBytes } from 'node:crypto';
import type { SettledBatch } from '../../contracts/chain/types.ts';
import { fetchBlockAt } from '../client/artifacts.ts';
import type { GetBlock } from '../client/batch.ts';
import { fraudName } from '../client/exhibits.ts';
import { type Found, findFrauds } from '../client/find-frauds.ts';
import type { Gateway } from '../gateway.ts';
import { recoverSigner } from '../identity/ecdsa.ts';
import { createProofs, type Proofs, placeOf } from './send-proofs.ts';

/** How often new batches are looked for, ms. */
const LOOK_EVERY_MS = 600_000;
/** Time for a batch to be had from its gateway, seconds. */
const PATIENCE_SEC = 600;

type Parts = Pick<
  Gateway,
  'account' | 'address' | 'alarms' | 'artifacts' | 'chain' | 'closing' | 'config' | 'log' | 'nowMs'
>;

export interface OthersWatch {
  /** Looks now; rejects never. */
  look(): Promise<void>;
  close(): void;
}

/** `watchSamplePercent` of the batches of all other gateways, each looked at once. */
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
      // A demand costs its pledge: it is the payer's to make.
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
 * By a hash under a secret of this process: a gateway can draw the roots of its batches until they
 * suit it, so nothing that it knows may say which of them are looked at.
 */
function isSampled({ root, tx }: SettledBatch, secret: Buffer, percent: number): boolean {
  const hash = createHmac('sha256', secret).update(`${root} ${tx}`).digest();
  return hash.readUInt32BE() % 100 < percent;
}

/** From the own node and its peers, else from where the other gateway has registered itself. */
function blocksOf(
  { artifacts, chain, closing, config }: Parts,
  gateway: SettledBatch['gateway'],
): GetBlock {
  const uri = chain.view.party(gateway)?.uri ?? '';
  // A stranger wrote it: only where it cannot lead to this machine's own network.
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
