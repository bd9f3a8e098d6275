// `defaas watch`: compares what gateways settle for the account with what they showed it, proves
// frauds, demands withheld receipts, and collects unanswered demands. It signs the daily vouchers
// of lanes that others spend from.

import { setTimeout } from 'node:timers/promises';
import { fraudName, type HeldReceipt } from '../../broker/client/exhibits.ts';
import { type Found, findFrauds, type WatchedLane } from '../../broker/client/find-frauds.ts';
import { recoverSigner } from '../../broker/identity/ecdsa.ts';
import { createDisputeReads, type DisputeTerms } from '../../contracts/chain/dispute-reads.ts';
import type { SettledBatch } from '../../contracts/chain/types.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { CliError, describeError } from './cli-error.ts';
import { type Flags, note, type Outcome } from './context.ts';
import { demandAt } from './demand.ts';
import { evidenceFolder, readEvidenceFolder, writeEvidence } from './evidence-files.ts';
import { expireOne, overdue } from './expire.ts';
import { proveOne } from './prove.ts';
import { lanesToRenew, renewalOf, renewOne } from './renew.ts';
import { openWatcher, type Watcher } from './watcher.ts';

export interface WatchOptions {
  /** Demands withheld receipts. Each answered demand costs the pledge. */
  readonly auto?: boolean;
  /** Checks once, for cron and scripts. */
  readonly once?: boolean;
  readonly dryRun?: boolean;
  /** Checks the lanes of all payers, as far as public data proves a fraud. */
  readonly all?: boolean;
  /** Seconds between two checks. */
  readonly every?: string;
  /** Minutes after a settlement before its pages count as withheld. */
  readonly patience?: string;
}

/** Most proofs and demands in one check. */
const MAX_ACTIONS = 200;
const EVERY_SEC = 300;
const PATIENCE_MIN = 10;

/** An action that a check took, or would take. */
export interface Action {
  readonly action: 'renew' | 'prove' | 'demand' | 'expire';
  /** D2 to D9, or `mandate`. */
  readonly kind: string;
  readonly message: string;
  readonly gateway: string;
  readonly damageUnits?: bigint;
  /** Path of the evidence on this machine. */
  readonly file?: string;
  readonly sent: boolean;
  readonly tx?: string;
  /** Why it was not sent. */
  readonly error?: { readonly code: string; readonly message: string };
}

/**
 * Sends proofs and expiries, which cost only gas; demands only with `--auto`. Lanes with open
 * mandates get a voucher for what these allow today, once their receipts are checked. Without
 * `--once` it runs until SIGTERM or SIGINT.
 * @throws CliError USAGE, KEY_MISSING, RPC_REQUIRED, DEPLOYMENT_...; ChainError CHAIN_...
 */
export async function watch(flags: Flags, options: WatchOptions): Promise<Outcome> {
  const everySec = wholeOf(options.every, EVERY_SEC, '--every');
  if (everySec === 0) throw new CliError('USAGE', '--every must be at least 1 second, got 0');
  const patienceSec = 60 * wholeOf(options.patience, PATIENCE_MIN, '--patience');
  const watcher = await openWatcher(flags);
  try {
    const looking = { flags, options, watcher, patienceSec };
    if (options.once) return outcomeOf(await look(looking));
    return outcomeOf(await follow(looking, everySec));
  } finally {
    watcher.close();
  }
}

interface Looking {
  readonly flags: Flags;
  readonly options: WatchOptions;
  readonly watcher: Watcher;
  readonly patienceSec: number;
}

/** Repeats the check. Actions are reported as they happen, and once more at the end. */
async function follow(looking: Looking, everySec: number): Promise<readonly Action[]> {
  const ending = new AbortController();
  const end = () => ending.abort();
  process.once('SIGTERM', end);
  process.once('SIGINT', end);
  const done: Action[] = [];
  const said = new Set<string>();
  while (!ending.signal.aborted) {
    try {
      for (const action of await look(looking)) {
        const line = lineOf(action);
        if (said.has(line)) continue;
        said.add(line);
        done.push(action);
        note(looking.flags, line);
      }
    } catch (error) {
      const { code, message } = describeError(error);
      note(looking.flags, `${code}: ${message}, tried again in ${everySec} s`);
    }
    await setTimeout(everySec * 1000, undefined, { signal: ending.signal }).catch(() => {});
  }
  return done;
}

async function look({ flags, options, watcher, patienceSec }: Looking): Promise<Action[]> {
  const { chain, account, home } = watcher;
  await chain.synced();
  const nowSec = await chain.nowSec();
  const terms = await createDisputeReads(chain).readTerms();
  const isOwn = ({ payer }: { readonly payer: string }) => payer === account.address;
  const isSettling = ({ timestampSec }: SettledBatch) => nowSec - timestampSec < patienceSec;
  const kept = keptReceipts(home);
  const actions = await renewAll({ flags, options, watcher });
  for (const one of overdue(nowSec, chain.view.demands(), account.address)) {
    actions.push(await expireAction(watcher, one, options));
  }
  const finding = findFrauds({
    recover: recoverSigner,
    chain,
    getBlock: watcher.getBlock,
    isWanted: (batch) => !isSettling(batch) && (options.all || batch.claims.some(isOwn)),
    isLaneWanted: (lane) => options.all === true || isOwn(lane),
    held: (lane) => [...watcher.held(lane), ...(kept.get(laneName(lane)) ?? [])],
  });
  for await (const found of finding) {
    if (actions.length >= MAX_ACTIONS) break;
    // Receipts withheld from other payers are theirs to demand.
    if (found.evidence.kind === 'withheld' && !isOwn(found.evidence.place)) continue;
    actions.push(await act({ flags, options, watcher, terms }, found));
  }
  return actions;
}

/**
 * Renews vouchers and mandates of the account's lanes. A gateway that is down or lies does not
 * block the others.
 */
async function renewAll({
  flags,
  options,
  watcher,
}: Pick<Looking, 'flags' | 'options' | 'watcher'>): Promise<Action[]> {
  const actions: Action[] = [];
  const about = { action: 'renew', kind: 'mandate' } as const;
  for (const gateway of watcher.mandatedGateways()) {
    const known = { account: watcher.account, store: watcher.storeOf(gateway) };
    const lanes = lanesToRenew(known);
    if (lanes.length === 0) continue;
    if (options.dryRun) {
      const due = lanes.flatMap((lane) => renewalOf(known, lane) ?? []);
      actions.push(...due.map((message) => ({ ...about, gateway, message, sent: false })));
      continue;
    }
    try {
      const opened = await watcher.openGateway(gateway);
      for (const lane of lanes) {
        try {
          const renewed = await renewOne(flags, opened, watcher.chain, lane);
          if (renewed) actions.push({ ...about, gateway, message: renewed.message, sent: true });
        } catch (error) {
          const message = `lane ${lane.signer}: nothing is signed`;
          actions.push({ ...about, gateway, message, sent: false, error: describeError(error) });
        }
      }
    } catch (error) {
      const message = `nothing is signed for its ${lanes.length} lanes with mandates`;
      actions.push({ ...about, gateway, message, sent: false, error: describeError(error) });
    }
  }
  return actions;
}

/**
 * Receipts in the evidence folder. The client stored them because they contradicted what was
 * agreed.
 */
function keptReceipts(home: string): ReadonlyMap<string, readonly HeldReceipt[]> {
  const held = readEvidenceFolder(evidenceFolder(home)).flatMap(({ exhibit }) =>
    exhibit.kind === 'receipt' ? [exhibit] : [],
  );
  return Map.groupBy(held, ({ signed }) => laneName(signed.receipt));
}

function laneName({ gateway, payer, signer }: WatchedLane): string {
  return `${gateway} ${payer} ${signer}`;
}

interface Acting extends Omit<Looking, 'patienceSec'> {
  readonly terms: DisputeTerms;
}

async function act({ options, watcher, terms }: Acting, found: Found): Promise<Action> {
  const { evidence, message, damage } = found;
  const { chain, home } = watcher;
  const place = evidence.kind === 'duplicate' ? evidence.laterPlace : evidence.place;
  const file = writeEvidence(evidenceFolder(home), {
    chainId: chain.chainId,
    billing: chain.contracts.billing,
    gateway: place.gateway,
    message,
    exhibit: evidence,
  });
  const about = {
    kind: fraudName(evidence.kind),
    gateway: place.gateway,
    damageUnits: damage,
    file,
  };
  if (evidence.kind !== 'withheld') {
    return attempt({ action: 'prove', message, ...about }, options, () =>
      proveOne(watcher, evidence, message, options),
    );
  }
  const price = `${formatTokens(terms.demandPledge)} tokens are pledged and lost if it is answered`;
  const demand = { action: 'demand', message: `${message}; ${price}`, ...about } as const;
  if (!options.auto) return { ...demand, sent: false };
  return attempt(demand, options, () => demandAt(watcher, evidence.place, evidence.index, options));
}

async function expireAction(
  watcher: Watcher,
  demand: Parameters<typeof expireOne>[1],
  options: WatchOptions,
): Promise<Action> {
  const { gateway, id } = demand;
  const message = `demand ${id} was not answered`;
  return attempt({ action: 'expire', kind: 'D9', gateway, message }, options, async () => ({
    document: await expireOne(watcher, demand, options),
  }));
}

/** An action that the chain refuses does not block the others: somebody may have been faster. */
async function attempt(
  action: Omit<Action, 'sent'>,
  { dryRun = false }: WatchOptions,
  send: () => Promise<{ readonly document: unknown }>,
): Promise<Action> {
  try {
    const { document } = await send();
    const tx = typeof document === 'object' && document && 'tx' in document ? document.tx : '';
    return { ...action, sent: !dryRun, ...(tx !== '' && { tx: String(tx) }) };
  } catch (error) {
    return { ...action, sent: false, error: describeError(error) };
  }
}

function outcomeOf(actions: readonly Action[]): Outcome {
  const frauds = actions.filter(({ action }) => action === 'prove' || action === 'demand');
  const [failed] = actions.flatMap(({ error }) => error ?? []);
  const [unsigned] = actions.flatMap(({ action, error }) => (action === 'renew' && error) || []);
  return {
    document: { actions },
    text: actions.length === 0 ? 'nothing is wrong' : actions.map(lineOf).join('\n'),
    ...(unsigned && { failure: unsigned }),
    ...(frauds.length > 0 && {
      failure: failed ?? {
        code: 'WATCH_FINDINGS',
        message: `${frauds.length} findings against gateways, the evidence is in ${frauds[0]?.file ?? ''}, pay those gateways no more`,
      },
    }),
  };
}

function lineOf({ action, kind, gateway, message, sent, tx, error, file }: Action): string {
  const done = sent ? `sent ${tx ?? ''}` : error ? `${error.code}: ${error.message}` : 'not sent';
  return `${action} ${kind} of gateway ${gateway}: ${message}; ${done}${file ? `; ${file}` : ''}`;
}

function wholeOf(text: string | undefined, fallback: number, what: string): number {
  if (text === undefined) return fallback;
  if (/^\d{1,7}$/.test(text)) return Number(text);
  throw new CliError('USAGE', `${what} must be a whole number, got "${text.slice(0, 40)}"`);
}
