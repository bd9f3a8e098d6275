// Asks the user once, on a terminal or by `--yes`, and remembers the answer.
import { statSync } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import { CliError } from './cli-error.ts';
import { type Home, type HouseFlags, userFolder } from './house.ts';
import { type Confirmed, openConfirmed } from './store.ts';

export interface Question {
  /** Key under which the answer is remembered. It contains everything that the answer is about. */
  readonly what: string;
  /** What the user is asked to trust, as one line. */
  readonly says: string;
}

/**
 * Resolves if the user confirms it now or has confirmed it before.
 * @throws CliError DEPLOYMENT_UNCONFIRMED the answer is no, or there is neither a terminal nor
 *   `--yes`
 */
export async function confirmOnce(
  flags: Pick<HouseFlags, 'yes'>,
  confirmed: Confirmed,
  { what, says }: Question,
): Promise<void> {
  if (confirmed.get(what) !== undefined) return;
  if (!flags.yes && !(await ask(says))) {
    throw new CliError(
      'DEPLOYMENT_UNCONFIRMED',
      `${says}: nobody has confirmed it, nothing was signed or sent, look at it and run the command again with --yes`,
    );
  }
  confirmed.put(what, new Date().toISOString());
}

/**
 * Asks each time, before something that cannot be undone or costs money.
 * @throws CliError NOT_CONFIRMED the answer is no, or there is neither a terminal nor `--yes`
 */
export async function confirmNow(
  flags: Pick<HouseFlags, 'yes'>,
  says: string,
  question: string,
): Promise<void> {
  if (flags.yes || (await ask(says, question))) return;
  throw new CliError('NOT_CONFIRMED', `${says}: not confirmed, nothing was done, say --yes`);
}

/** Asks a question on the terminal. Resolves to false if there is none. */
export async function ask(says: string, question = 'Is that right?'): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return false;
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await lines.question(`${says}\n${question} [y/N] `)).trim());
  } finally {
    lines.close();
  }
}

/**
 * A home holds keys and says which contracts to trust. One that was found above the working folder,
 * or that somebody else owns or can write to, must be confirmed first. The answer is kept in the
 * user's own folder.
 * @throws CliError DEPLOYMENT_UNCONFIRMED
 */
export async function confirmHome(
  flags: Pick<HouseFlags, 'yes'>,
  { path, how }: Home,
): Promise<void> {
  const found = statSync(path, { throwIfNoEntry: false });
  if (how === 'named' || !found) return;
  const foreign = foreignness(found);
  if (how !== 'found' && foreign === undefined) return;
  const confirmed = openConfirmed(userFolder());
  try {
    const where =
      how === 'found' ? `found from ${process.env.INIT_CWD ?? process.cwd()} upward` : '';
    const why = [where, foreign].filter(Boolean).join(', ');
    await confirmOnce(flags, confirmed, {
      // A folder that replaces it later counts as another one, even with the same inode.
      what: `home ${path} ${found.dev}:${found.ino}:${found.uid}:${found.birthtimeMs}`,
      says: `keys and contracts are taken from ${path} (${why}; DEFAAS_HOME names another)`,
    });
  } finally {
    confirmed.close();
  }
}

/** Windows has no such owners and modes. */
function foreignness({ uid, mode }: { uid: number; mode: number }): string | undefined {
  const own = process.getuid?.();
  if (own === undefined) return undefined;
  if (uid !== own) return `owned by user ${uid}, not by ${own}`;
  return (mode & 0o002) === 0 ? undefined : 'everybody may write to it';
}
