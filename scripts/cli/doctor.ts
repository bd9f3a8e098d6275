// `defaas doctor`: looks at everything a user needs, and says for each what is wrong and what to do.
import { statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { keysFolder, readAccount } from './account.ts';
import { openChain, openReader } from './chain.ts';
import { errorLine } from './cli-error.ts';
import { type Flags, type Opened, type Outcome, openGateway } from './context.ts';
import { findHome, findHouse } from './house.ts';
import { formatTable } from './table.ts';
import { formatTokens } from './units.ts';

/** Oldest Node that the product runs on. */
const NODE_MAJOR = 24;

interface Check {
  readonly name: string;
  readonly isOk: boolean;
  /** What was found, or `CODE: what, on what, what to do`. */
  readonly found: string;
}

/** Runs all checks that can be run; one that fails does not stop the others. It changes nothing. */
export async function doctor(flags: Flags): Promise<Outcome> {
  const checks = [
    await check('node', checkNode),
    await check('keys', () => checkKeys(flags)),
    await check('house', () => checkHouse(flags)),
  ];
  let opened: Opened | undefined;
  checks.push(
    await check('gateway', async () => {
      opened = await openGateway(flags);
      const { gateway, chainId, feeBps } = opened.connection.document;
      return `${gateway}, chain ${chainId}, fee ${feeBps / 100} %`;
    }),
  );
  if (opened) {
    const at = opened;
    checks.push(await check('ready', () => checkReady(at)));
    checks.push(await check('chain', () => checkChain(at)));
    checks.push(await check('clouds', async () => at.connection.document.providers.join(', ')));
    checks.push(await check('money', () => checkMoney(at)));
    opened.close();
  }
  const bad = checks.filter(({ isOk }) => !isOk);
  return {
    document: {
      ok: bad.length === 0,
      checks: checks.map(({ isOk, ...rest }) => ({ ...rest, ok: isOk })),
    },
    text: formatTable(
      ['', 'check', 'found'],
      checks.map(({ name, isOk, found }) => [isOk ? 'ok' : '!!', name, found]),
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
    code: 'NODE_24_MISSING',
  });
}

/** Keys are for their owner alone. */
async function checkKeys(flags: Flags): Promise<string> {
  const home = findHome();
  const { address } = readAccount(home, flags.account);
  const folder = keysFolder(home);
  for (const name of await readdir(folder)) {
    if ((statSync(join(folder, name)).mode & 0o077) === 0 || process.platform === 'win32') continue;
    throw Object.assign(
      new Error(`others can read a key, on ${join(folder, name)}, run chmod 600 on it`),
      {
        code: 'KEY_EXPOSED',
      },
    );
  }
  return `${flags.account} is ${address}`;
}

function checkHouse(flags: Flags): string {
  const { gateway, up, home } = findHouse(flags);
  return up ? `up on this machine, process ${up.pid}, ${gateway}, ${home}` : gateway;
}

async function checkReady({ connection }: Opened): Promise<string> {
  await connection.request('/readyz');
  return 'the gateway takes calls';
}

async function checkChain(opened: Opened): Promise<string> {
  const chain = await openChain(opened);
  try {
    const { head } = chain.view;
    const standing = chain.view.gateway(opened.connection.document.gateway);
    if (!standing) throw new Error('the gateway is not registered on the chain');
    return `block ${head.number}, ${chain.view.functions().length} functions, bond ${formatTokens(standing.bond)} tokens, ${standing.batches} batches`;
  } finally {
    chain.close();
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
