// `defaas doctor`: checks everything that a user needs, and says for each what is wrong and what to
// do.

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isExposed } from '../../adapters/runtime/whole-file.ts';
import {
  type CloudCheck,
  checkDeployments,
  repairDeployments,
} from '../../broker/client/deployments.ts';
import { readCount, readJson } from '../../broker/client/parse.ts';
import type { Session } from '../../broker/client/session.ts';
import { fetchAlarms } from '../../broker/client/settlement.ts';
import { fetchTokenKeys } from '../../broker/client/token-key.ts';
import { formatTokens } from '../../contracts/libraries/tokens.ts';
import { type Account, keysFolder, readAccount } from './account.ts';
import { openChain, openReader } from './chain.ts';
import { errorLine } from './cli-error.ts';
import {
  type Flags,
  note,
  type Opened,
  type Outcome,
  openGateway,
  openSession,
} from './context.ts';
import { stepLine } from './deployment-lines.ts';
import { overdue } from './expire.ts';
import { findHome, findHouse } from './house.ts';
import { standingChecks } from './standing.ts';
import { storeFiles } from './store.ts';
import { formatTable } from './table.ts';

/** Oldest supported major version of Node. */
const NODE_MAJOR = 26;
/** Role of the local house's operator. */
const OPERATOR = 'gateway';
/** Finality has stalled if it is this far behind, seconds. */
const FINALITY_LAG_SEC = 3_600;
/** Age at which a price list should be reviewed: 90 days, ms. */
const PRICES_LIFE_MS = 90 * 86_400_000;

interface Check {
  readonly name: string;
  readonly isOk: boolean;
  /** Needs attention, though nothing is broken. */
  readonly isWarning?: boolean;
  /** The finding, or `CODE: what, on what, what to do`. */
  readonly found: string;
}

/**
 * Runs all checks that can run; a failed one does not stop the others. It changes nothing unless
 * `fix` is set, which repairs the clouds.
 */
export async function doctor(
  flags: Flags,
  { fix = false }: { readonly fix?: boolean } = {},
): Promise<Outcome> {
  const checks = [
    await check('node', checkNode),
    await check('keys', () => checkKeys(flags)),
    await check('house', () => checkHouse(flags)),
  ];
  let opened: Opened | undefined;
  checks.push(
    await check('gateway', async () => {
      opened = await openGateway(flags, { allowRevoked: true });
      const { gateway, chainId, feeBps } = opened.connection.document;
      return `${gateway}, chain ${chainId}, fee ${feeBps / 100} %`;
    }),
  );
  if (opened) {
    const at = opened;
    if (at.connection.document.otherSets) checks.push(checkSets(at));
    checks.push(await check('ready', () => checkReady(at)));
    checks.push(await checkFinality(at));
    checks.push(await check('chain', () => checkChain(at)));
    checks.push(await check('bond', () => checkBond(at)));
    checks.push(await check('disputes', () => checkDisputes(at)));
    checks.push(await check('tokens', () => checkTokenKey(at)));
    checks.push(await check('clouds', () => cloudsOf(at.connection.document)));
    checks.push(...(await checkClouds(flags, at, fix)));
    checks.push(await check('money', () => checkMoney(at)));
    checks.push(...(await checkStanding(at)));
    opened.close();
  }
  const bad = checks.filter(({ isOk }) => !isOk);
  return {
    document: {
      ok: bad.length === 0,
      checks: checks.map(({ isOk, isWarning, ...rest }) => ({
        ...rest,
        ok: isOk,
        ...(isWarning && { warning: true }),
      })),
    },
    text: formatTable(
      ['', 'check', 'found'],
      checks.map(({ name, isOk, isWarning, found }) => [
        isOk ? (isWarning ? '??' : 'ok') : '!!',
        name,
        found,
      ]),
    ),
    ...(bad[0] && { failure: splitLine(bad[0].found) }),
  };
}

async function check(name: string, look: () => Promise<string> | string): Promise<Check> {
  try {
    return { name, isOk: true, found: await look() };
  } catch (error) {
    return { name, isOk: false, found: errorLine(error) };
  }
}

function checkNode(): string {
  const { node } = process.versions;
  if (Number.parseInt(node, 10) >= NODE_MAJOR) return node;
  throw Object.assign(new Error(`this is Node ${node}, install Node ${NODE_MAJOR} or newer`), {
    code: 'NODE_MISSING',
  });
}

/** The available clouds, and for the local one how functions are isolated from the machine. */
function cloudsOf({ providers, isolation }: Opened['connection']['document']): string {
  const local =
    isolation === 'trusted' ? 'local (no sandbox: trusted code only)' : 'local (sandbox)';
  return providers.map((name) => (name === 'local' ? local : name)).join(', ');
}

/** Checks that only their owner can read the keys and the stored tokens. */
async function checkKeys(flags: Flags): Promise<string> {
  const home = findHome();
  const { address } = readAccount(home, flags.account);
  const folder = keysFolder(home);
  const keys = (await readdir(folder)).map((name) => join(folder, name));
  for (const file of [...keys, ...storeFiles(home)]) {
    if (!isExposed(file)) continue;
    const what = keys.includes(file) ? 'a key' : 'access tokens';
    throw Object.assign(new Error(`others can read ${what}, on ${file}, run chmod 600 on it`), {
      code: 'KEY_EXPOSED',
    });
  }
  return `${flags.account} is ${address}`;
}

function checkHouse(flags: Flags): string {
  const { gateway, up, home } = findHouse(flags);
  return up ? `up on this machine, process ${up.pid}, ${gateway}, ${home}` : gateway;
}

/**
 * The sets of contracts that a gateway serves while payers move, and where; the one in use first.
 */
function checkSets({ connection, trust, set }: Opened): Check {
  const others = (connection.document.otherSets ?? []).map(({ billing, url }) => {
    const other = trust.sets.find(({ contracts }) => contracts.billing === billing);
    return `${other ? `${other.id} (${other.status})` : `unknown (Billing ${billing})`} at ${url.slice(0, 256)}`;
  });
  const inUse = `${set.id} (${set.status}) at ${connection.origin}, in use`;
  return { name: 'sets', isOk: true, found: [inUse, ...others].join('; ') };
}

async function checkReady({ connection }: Opened): Promise<string> {
  await connection.request('/readyz');
  return 'the gateway takes calls';
}

/** Checks finality. Without it calls go on, but new money and new deployments wait. */
async function checkFinality({ connection }: Opened): Promise<Check> {
  const name = 'finality';
  try {
    const ready = await readJson(await connection.request('/readyz'), 'the readiness');
    const lagSec = readCount(ready.finalityLagSec, 'finalityLagSec');
    if (lagSec < FINALITY_LAG_SEC) return { name, isOk: true, found: `${lagSec} s behind` };
    const found = `FINALITY_STALLED: the newest final block is ${lagSec} s behind the newest, on the chain, new deposits and deployments wait`;
    return { name, isOk: true, isWarning: true, found };
  } catch (error) {
    return { name, isOk: false, found: errorLine(error) };
  }
}

async function checkChain(opened: Opened): Promise<string> {
  const chain = await openChain(opened);
  try {
    const { head } = chain.view;
    const standing = chain.view.gateway(opened.connection.document.gateway);
    if (!standing) throw new Error('the gateway is not registered on the chain');
    return `block ${head.number}, ${chain.view.functions().length} functions, bond ${formatTokens(standing.atStake)} tokens, ${standing.batches} batches`;
  } finally {
    chain.close();
  }
}

/** Checks the bond. A gateway whose bond is too low is not paid for what it serves. */
async function checkBond(opened: Opened): Promise<string> {
  const { gateway } = opened.connection.document;
  const chain = await openChain(opened);
  try {
    const { standing: units = 0n, settleUntilSec = 0 } = chain.view.gateway(gateway) ?? {};
    const { minBond } = chain.constants;
    const standing = formatTokens(units);
    if (units >= minBond) return `${standing} tokens stand`;
    const isOver = (await chain.nowSec()) > settleUntilSec;
    const until = new Date(settleUntilSec * 1000).toISOString();
    const when = isOver ? 'settles no more' : `settles until ${until} and not longer`;
    const message = `${standing} tokens stand and ${formatTokens(minBond)} must, on ${gateway}, which ${when}, the operator must run defaas bond`;
    throw Object.assign(new Error(message), { code: 'BOND_TOO_LOW' });
  } finally {
    chain.close();
  }
}

/**
 * Checks frauds proven of the gateway and demands open at it, and demands of this account that wait
 * to be collected.
 */
async function checkDisputes(opened: Opened): Promise<string> {
  const { gateway } = opened.connection.document;
  const chain = await openChain(opened);
  try {
    const { view } = chain;
    const nowSec = view.head.timestampSec;
    const own = overdue(nowSec, view.demands(), opened.account.address);
    if (own.length > 0) {
      const message = `${own.length} demands of account ${opened.account.address} were not answered, run defaas expire all`;
      throw Object.assign(new Error(message), { code: 'WATCH_FINDINGS' });
    }
    const open = view.demands(gateway).filter(({ state }) => state === 'open');
    const proven = view.frauds(gateway);
    const slashed = proven.reduce((sum, fraud) => sum + fraud.slashed, 0n);
    return `${proven.length} frauds proven of the gateway (${formatTokens(slashed)} tokens slashed), ${open.length} demands open`;
  } finally {
    chain.close();
  }
}

/**
 * Checks the gateway's alarms for its operator. They are a warning as long as the gateway loses
 * nothing.
 */
async function checkAlarms(session: Session): Promise<Check> {
  const warnings = new Set(['BOND_LOW', 'FRAUD_FOUND', 'METERING_UNREAD']);
  let isWarning = false;
  const checked = await check('alarms', async () => {
    const alarms = await fetchAlarms(session);
    const all = alarms.map(({ kind, message }) => `${kind}: ${message}`).join('; ');
    isWarning = alarms.length > 0;
    if (alarms.every(({ kind }) => warnings.has(kind))) return all || 'none';
    throw Object.assign(new Error(all), { code: 'GATEWAY_ALARM' });
  });
  return { ...checked, isWarning };
}

/**
 * Checks that the key of the gateway's tokens is the one on the chain. Verifiers trust no other
 * key.
 */
async function checkTokenKey(opened: Opened): Promise<string> {
  const { gateway } = opened.connection.document;
  const keys = await fetchTokenKeys(opened.connection);
  const chain = await openChain(opened);
  try {
    const thumbprint = chain.view.gateway(gateway)?.jwksThumbprint;
    if (thumbprint !== undefined && keys.includes(thumbprint)) return `signed by ${thumbprint}`;
    const message = `the chain names ${thumbprint ?? 'none'} as the token key of ${gateway}, which has ${keys.join(', ')}, the operator must register it (updateParty)`;
    throw Object.assign(new Error(message), { code: 'TOKEN_KEY_MISMATCH' });
  } finally {
    chain.close();
  }
}

/**
 * Compares the clouds with the gateway's records, and checks the age of its prices. Only for its
 * operator, whose key must be here.
 */
async function checkClouds(flags: Flags, opened: Opened, fix: boolean): Promise<Check[]> {
  const operator = readOperator(opened);
  if (operator === undefined) {
    const found = 'not looked at: only the operator of the gateway may';
    return [{ name: 'functions', isOk: true, found }];
  }
  const session = await openSession(opened, operator);
  let pricesAsOfMs = 0;
  const functions = await check('functions', async () => {
    if (fix) await repair(flags, session);
    const checked = await checkDeployments(session);
    pricesAsOfMs = checked.pricesAsOfMs;
    return describeClouds(checked.clouds);
  });
  const alarms = await checkAlarms(session);
  if (pricesAsOfMs === 0) return [alarms, functions];
  return [alarms, functions, checkPrices(pricesAsOfMs, Date.now())];
}

function readOperator({ house, connection }: Opened): Account | undefined {
  try {
    const account = readAccount(house.home, OPERATOR);
    return account.address === connection.document.gateway ? account : undefined;
  } catch {
    return undefined;
  }
}

async function repair(flags: Flags, session: Session): Promise<void> {
  const { error, providers } = await repairDeployments(session, (step) =>
    note(flags, `  ${stepLine(step)} ${step.message}`),
  );
  const failed = error ?? providers.find((one) => one.error)?.error;
  if (failed) throw Object.assign(new Error(failed.message), { code: failed.code });
}

function describeClouds(clouds: readonly CloudCheck[]): string {
  const astray = clouds.flatMap(({ provider, orphans, ghosts, error }) => [
    ...(error ? [`${provider} cannot be listed (${error.code}: ${error.message})`] : []),
    ...orphans.map(({ name }) => `${name} is at ${provider} without a record`),
    ...ghosts.map((ghost) => `${ghost.function ?? ghost.name} is lost at ${provider}`),
  ]);
  if (astray.length > 0) {
    const all = astray.join('; ');
    throw Object.assign(new Error(`${all}, run defaas doctor --fix`), {
      code: 'DEPLOYMENTS_ASTRAY',
    });
  }
  return clouds.map(({ provider, functions }) => `${provider} ${functions}`).join(', ');
}

export function checkPrices(asOfMs: number, nowMs: number): Check {
  const asOf = new Date(asOfMs).toISOString().slice(0, 10);
  const name = 'prices';
  if (nowMs - asOfMs <= PRICES_LIFE_MS) return { name, isOk: true, found: `of ${asOf}` };
  const found = `PRICES_OLD: the clouds' prices are those of ${asOf}, on the gateway, update adapters/prices.json`;
  return { name, isOk: true, isWarning: true, found };
}

async function checkStanding(opened: Opened): Promise<readonly Check[]> {
  try {
    return await standingChecks(opened, readOperator(opened) !== undefined);
  } catch (error) {
    return [{ name: 'terms', isOk: false, found: errorLine(error) }];
  }
}

async function checkMoney(opened: Opened): Promise<string> {
  const { account, connection } = opened;
  const reader = openReader(opened);
  try {
    const line = await reader.line(account.address, connection.document.gateway);
    const free = await reader.freeUnits(account.address);
    return `${formatTokens(line.allottedUnits)} tokens set aside for calls, ${formatTokens(free)} free`;
  } finally {
    reader.close();
  }
}

function splitLine(line: string): { code: string; message: string } {
  const [, code = 'INTERNAL', message = line] = /^([A-Z0-9_]+): (.*)$/s.exec(line) ?? [];
  return { code, message };
}
