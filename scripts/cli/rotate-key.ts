// `defaas rotate-key`: replaces the key that signs for the gateway, without a gap. The new key is
// on disk, then on the chain, then in use, and only then the old one is retired. A second run
// continues where the first stopped.
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { writeWhole } from '../../adapters/runtime/whole-file.ts';
import {
  fetchOperatorKey,
  type SwitchedKey,
  switchOperatorKey,
} from '../../broker/client/operator-key.ts';
import { createKey, type Key } from '../../contracts/keystore.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { keysFolder, readKey } from './account.ts';
import { describeError } from './cli-error.ts';
import { type Flags, note, type Outcome, openGateway, openSession } from './context.ts';
import { userPath } from './house.ts';
import { type ActOptions, dateOf, type Operator, openOperator, told } from './operator.ts';

/** How long the gateway may take to see the key on the chain, and time between two checks, ms. */
const GATEWAY_SEES_MS = 60_000;
const LOOK_EVERY_MS = 250;
const OPERATOR = 'gateway';
/** Role bit of a key that signs for a gateway (Identity). */
const ROLE_GATEWAY = 1;

export interface RotateOptions extends ActOptions {
  /** The old key was stolen: the transaction that adds the new key also retires it. */
  readonly stolen?: boolean;
  /** Where the gateway reads its key. */
  readonly keyFile?: string;
}

/** What is already done, and what remains. */
interface Plan {
  readonly file: string;
  /** The key that is to be replaced. */
  readonly old: Address;
  /** The old private key, as long as it is in the file. */
  readonly oldKey: Key | undefined;
  /** The new key; undefined until it is made. */
  readonly next: Key | undefined;
  /** Whether the file holds the new key already. */
  readonly isPlaced: boolean;
}

/**
 * @throws CliError OPERATOR_ONLY, KEY_MISSING; ChainError CHAIN_...
 * A gateway that cannot be told is no exception: the outcome has its code and says how to go on.
 */
export async function rotateKey(flags: Flags, options: RotateOptions): Promise<Outcome> {
  const operator = await openOperator(flags, options, { allowRevoked: true });
  try {
    const file = fileOf(operator, options);
    const plan = planOf(operator, file, await keyInUse(flags));
    if (operator.dryRun) return tried(operator, plan);
    const next = plan.next ?? (await makeNext(file));
    await announce(operator, plan, next, options);
    if (!plan.isPlaced) await place(plan, next);
    const switched = await tell(flags, next);
    if ('key' in switched && switched.key === next.address) await retire(operator, plan.old);
    return outcomeOf(operator, plan, next, switched, options);
  } finally {
    operator.close();
  }
}

function fileOf({ home }: Operator, { keyFile }: RotateOptions): string {
  if (keyFile !== undefined) return userPath(keyFile);
  return process.env.DEFAAS_KEYS_OPERATOR_FILE || join(keysFolder(home), 'operator.json');
}

/** Undefined if the gateway does not answer. */
async function keyInUse(flags: Flags): Promise<Address | undefined> {
  try {
    const opened = await openGateway(flags, { role: OPERATOR, allowRevoked: true });
    try {
      return await fetchOperatorKey(opened.connection);
    } finally {
      opened.close();
    }
  } catch (error) {
    if (describeError(error).code === 'GATEWAY_UNREACHABLE') return undefined;
    throw error;
  }
}

function planOf(operator: Operator, file: string, inUse: Address | undefined): Plan {
  const current = readKey(file, 'the operator key');
  const replaced = replacedBy(file);
  const isOpen = replaced !== undefined && (isUnretired(operator, replaced) || inUse === replaced);
  if (isOpen) return { file, old: replaced, oldKey: undefined, next: current, isPlaced: true };
  const waiting = nextFile(file);
  const next = existsSync(waiting) ? readKey(waiting, 'the next operator key') : undefined;
  return { file, old: current.address, oldKey: current, next, isPlaced: false };
}

/** The key that this command replaced in the file, if it has done so. */
function replacedBy(file: string): Address | undefined {
  const { replaces } = JSON.parse(readFileSync(file, 'utf8'));
  return typeof replaces === 'string' && /^0x[0-9a-f]{40}$/.test(replaces)
    ? (replaces as Address) // Safe: the pattern is that of addresses.
    : undefined;
}

function isUnretired({ chain, gateway }: Operator, key: Address): boolean {
  return keyOnChain({ chain, gateway }, key)?.untilSec === 0;
}

function keyOnChain({ chain, gateway }: Pick<Operator, 'chain' | 'gateway'>, key: Address) {
  return chain.view.operatorKeys(gateway).find((known) => known.key === key);
}

function nextFile(file: string): string {
  return `${file}.next`;
}

/** Writes the new key to disk first: a key on the chain must not exist without its private key. */
async function makeNext(file: string): Promise<Key> {
  const next = createKey();
  await writeWhole(nextFile(file), `${JSON.stringify(next)}\n`);
  return next;
}

/** Adds the new key if the chain does not have it. The same transaction retires a stolen key. */
async function announce(
  operator: Operator,
  { old }: Plan,
  next: Key,
  { stolen = false }: RotateOptions,
): Promise<void> {
  const { chain, account, gateway } = operator;
  const writer = chain.connect(account);
  const role = keyOnChain(operator, old)?.role ?? ROLE_GATEWAY;
  const isStolenOpen = stolen && isUnretired(operator, old);
  if (chain.view.isKeyInForce(next.address, gateway)) {
    if (isStolenOpen) await retire(operator, old);
    return;
  }
  await chain.synced(
    isStolenOpen
      ? await writer.replaceKey(next.privateKey, role, old)
      : await writer.addKey(next.privateKey, role),
  );
}

/**
 * Puts the new key into the file. The old key stays next to it, named by its address, until the
 * operator removes it.
 */
async function place({ file, oldKey }: Plan, next: Key): Promise<void> {
  if (oldKey !== undefined) {
    const kept = `${basename(file, '.json')}-${oldKey.address}.json`;
    await writeWhole(join(dirname(file), kept), `${JSON.stringify(oldKey)}\n`);
  }
  await writeWhole(file, `${JSON.stringify({ ...next, replaces: oldKey?.address })}\n`);
  rmSync(nextFile(file), { force: true });
}

/** Result at the gateway: it has switched, or why not. */
type Told = SwitchedKey | { readonly code: string; readonly message: string };

async function tell(flags: Flags, next: Key): Promise<Told> {
  const deadlineMs = Date.now() + GATEWAY_SEES_MS;
  for (;;) {
    try {
      const opened = await openGateway(flags, { role: OPERATOR, allowRevoked: true });
      try {
        return await switchOperatorKey(await openSession(opened, opened.account));
      } finally {
        opened.close();
      }
    } catch (error) {
      const { code, message } = describeError(error);
      // The gateway's view follows the chain, some blocks behind if it is configured so.
      if (code === 'KEY_NOT_IN_FORCE' && Date.now() < deadlineMs) {
        note(flags, `  the gateway does not see key ${next.address} yet`);
        await setTimeout(LOOK_EVERY_MS);
      } else return { code, message };
    }
  }
}

async function retire(operator: Operator, old: Address): Promise<void> {
  const { chain, account } = operator;
  if (!isUnretired(operator, old)) return;
  await chain.synced(await chain.connect(account).retireKey(old));
}

function outcomeOf(
  operator: Operator,
  { file, old }: Plan,
  next: Key,
  switched: Told,
  { stolen = false }: RotateOptions,
): Outcome {
  const { gateway } = operator;
  const untilSec = keyOnChain(operator, old)?.untilSec ?? 0;
  const hasSwitched = 'key' in switched && switched.key === next.address;
  const signedAgain = 'key' in switched ? switched.signedAgain : 0;
  const document = {
    gateway,
    key: next.address,
    replaced: old,
    /** Until when signatures of the old key are accepted; null: it is not retired. */
    retiredUntilSec: untilSec === 0 ? null : untilSec,
    switched: hasSwitched,
    signedAgain,
    file,
    dryRun: false,
  };
  const retired =
    untilSec === 0
      ? `${old} is not retired yet`
      : `${old} is retired, what it signs is taken until ${dateOf(untilSec)}`;
  if (hasSwitched) {
    const again = `key ${next.address} signs for gateway ${gateway} now, ${signedAgain} groups of unsettled receipts are signed again`;
    const danger = stolen
      ? '; until then whoever has it can still sign for the gateway: watch its demands and frauds with defaas doctor'
      : '';
    return { document, text: `${again}; ${retired}${danger}` };
  }
  // A retired key needs no second run.
  const then = untilSec === 0 ? '; then run defaas rotate-key again' : '';
  const failure =
    'key' in switched
      ? {
          code: 'KEY_FILE_MISMATCH',
          message: `the gateway signs with ${switched.key} from another file than ${file}, put ${next.address} there and run defaas rotate-key again (${retired})`,
        }
      : {
          code: switched.code,
          message: `the gateway could not be told (${switched.message}): ${next.address} is on the chain and in ${file}, which it reads when it starts: start it${then} (${retired})`,
        };
  return { document, failure };
}

function tried(operator: Operator, { file, old, next, isPlaced }: Plan): Outcome {
  const { gateway, chain } = operator;
  const isKnown = next !== undefined && chain.view.isKeyInForce(next.address, gateway);
  const document = {
    gateway,
    key: next?.address ?? null,
    replaced: old,
    retiredUntilSec: null,
    switched: false,
    signedAgain: 0,
    file,
    dryRun: true,
  };
  const steps = [
    ...(next === undefined ? ['a key is made'] : []),
    ...(isKnown ? [] : [`the chain gets it for gateway ${gateway}`]),
    ...(isPlaced ? [] : [`it takes the place of ${old} in ${file}`]),
    'the gateway signs with it',
    ...(isUnretired(operator, old) ? [`${old} is retired`] : []),
  ];
  return { document, text: told(operator, steps.join('; ')) };
}
