// `defaas down` and `defaas reset`: stop the house of this folder, and put its state aside so that
// the next start begins anew.
import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { startOf } from '../../adapters/runtime/children.ts';
import { keysFolder } from '../cli/account.ts';
import { CliError } from '../cli/cli-error.ts';
import { confirmHome, confirmNow } from '../cli/confirm.ts';
import type { Flags, Outcome } from '../cli/context.ts';
import { houseFile, locateHome } from '../cli/house.ts';
import { houseOwner, openPidBook } from './pid-book.ts';

/** A stop takes 10 s at most; a busy machine gets longer. */
const STOP_MS = 60_000;
const LOOK_EVERY_MS = 50;

/** All that a house writes, but for the keys and what the command line knows. */
const STATE = [
  ...['chain', 'emulators', 'gateway', 'sets', 'ipfs', 'local', 'logs'],
  ...['contracts.json', 'furnished.json', 'up.json'],
];

/** Also ends what a killed house left. @throws CliError HOUSE_RUNNING it does not end */
export async function down(flags: Flags): Promise<Outcome> {
  const home = locateHome();
  await confirmHome(flags, home);
  const pid = await stopHouse(home.path);
  return {
    document: { home: home.path, pid: pid ?? null },
    text:
      pid === undefined
        ? `no house is up in ${home.path}`
        : `the house in ${home.path} is down; defaas up starts it again as it was`,
  };
}

/**
 * Nothing is deleted: the state is moved to a folder beside it. The account that deploys the
 * contracts is moved too, so that new contracts have new addresses and no old lane is taken for
 * one of theirs.
 * @throws CliError USAGE there is no local house, NOT_CONFIRMED, HOUSE_RUNNING
 */
export async function reset(flags: Flags): Promise<Outcome> {
  const found = locateHome();
  await confirmHome(flags, found);
  const { path: home } = found;
  if (!existsSync(join(home, 'chain'))) {
    throw new CliError(
      'USAGE',
      `${home} has no chain of its own, and reset is for the local house, so nothing was done`,
    );
  }
  const says = `the house in ${home} begins anew: its chain, clouds, functions and money on that chain are put aside`;
  await confirmNow(flags, says, 'Reset it?');
  await stopHouse(home);
  const book = openPidBook(home);
  try {
    const aside = join(home, `before-${new Date().toISOString().replaceAll(/[-:.]/g, '')}`);
    mkdirSync(aside, { mode: 0o700 });
    const files = STATE.map((name) => [join(home, name), join(aside, name)] as const);
    const others = [houseFile(home), join(keysFolder(home), 'deployer.json')];
    for (const [from, to] of [
      ...files,
      ...others.map((file) => [file, join(aside, file.split(/[\\/]/).at(-1) ?? '')] as const),
    ]) {
      if (existsSync(from)) renameSync(from, to);
    }
    return {
      document: { home, aside },
      text: `what was there is in ${aside}, remove it when nobody needs it; defaas up begins anew`,
    };
  } finally {
    book.close();
  }
}

/** The pid of the house that was up. */
async function stopHouse(home: string): Promise<number | undefined> {
  if (!existsSync(join(home, 'pids'))) return undefined;
  const owner = houseOwner(home);
  if (owner !== undefined) {
    process.kill(owner.pid, 'SIGTERM');
    const untilMs = Date.now() + STOP_MS;
    while (startOf(owner.pid) === owner.start) {
      if (Date.now() > untilMs) {
        throw new CliError(
          'HOUSE_RUNNING',
          `the house does not end (process ${owner.pid}), on ${home}, end that process, then run defaas down again`,
        );
      }
      await delay(LOOK_EVERY_MS);
    }
  }
  openPidBook(home).close();
  return owner?.pid;
}
