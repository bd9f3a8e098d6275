// Reads and writes small state files. Writes are atomic: after a kill the file has the old content
// or the new one, never a part.

import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

let writes = 0;

function temporaryOf(path: string): string {
  writes += 1;
  return `${path}.${process.pid}-${writes}.tmp`;
}

/**
 * Durable when it resolves: writes a temporary file, syncs it, renames it and syncs the folder. The
 * folder must exist.
 */
export async function writeWhole(
  path: string,
  contents: string | Uint8Array,
  mode = 0o600,
): Promise<void> {
  const temporary = temporaryOf(path);
  const file = await open(temporary, 'w', mode);
  try {
    await file.writeFile(contents);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);

  const folder = await open(dirname(path));
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/**
 * The same, durable when it returns; makes the folder, mode 0700. For state that rarely changes.
 */
export function writeWholeSync(path: string, contents: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = temporaryOf(path);
  writeFileSync(temporary, contents, { mode: 0o600, flush: true });
  renameSync(temporary, path);

  const folder = openSync(dirname(path), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** The text of a file; undefined if there is none. */
export function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** A key is there, and others than its owner can read it. */
export class ExposedKeyError extends Error {
  override readonly name = 'ExposedKeyError';
  readonly code = 'KEY_EXPOSED';
}

/** Whether others than its owner can read the file. Windows has no such modes. */
export function isExposed(path: string): boolean {
  if (process.platform === 'win32') return false;
  return ((statSync(path, { throwIfNoEntry: false })?.mode ?? 0) & 0o077) !== 0;
}

/** @throws ExposedKeyError */
export function refuseExposed(path: string): void {
  if (!isExposed(path)) return;
  throw new ExposedKeyError(`others can read a key, on ${path}, run chmod 600 on it`);
}

/** A state file is there, and what it holds is not what was written. The message names it. */
export class StateFileError extends Error {
  override readonly name = 'StateFileError';
  readonly code = 'FILE_UNREADABLE';
}

/** What a state file is expected to hold. */
export interface StateForm {
  /** Names it in an error: `a list of stolen keys`. */
  readonly what: string;
  readonly isWhole: (value: unknown) => boolean;
  /** What the user can do if the file is broken. */
  readonly remedy: string;
}

/**
 * Reads a state file that is JSON; undefined if there is none.
 * @throws StateFileError  it is empty, cut off, no JSON or of another form, or cannot be read
 */
export function readState<State>(path: string, form: StateForm): State | undefined {
  const { what, isWhole, remedy } = form;
  const refuse = (why: string, cause?: unknown) =>
    new StateFileError(`${path} ${why}, it should hold ${what}: ${remedy}`, { cause });
  let text: string | undefined;
  let value: unknown;
  try {
    text = readIfThere(path);
  } catch (cause) {
    throw refuse(`cannot be read (${reasonOf(cause)})`, cause);
  }
  if (text === undefined) return undefined;
  if (text.trim() === '') throw refuse('is empty');
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw refuse(`is no JSON (${reasonOf(cause)})`, cause);
  }
  if (!isWhole(value)) throw refuse('holds something else');
  // Safe: its own writer has written it, and `isWhole` has looked at its form.
  return value as State;
}

/** Whether a value is an object whose members `names` are texts. */
export function hasTexts(value: unknown, names: readonly string[]): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const members = new Map<string, unknown>(Object.entries(value));
  return names.every((name) => typeof members.get(name) === 'string');
}

/** Never the file's text, which may be a key: V8 quotes what it could not parse. */
function reasonOf(error: unknown): string {
  if (error instanceof SyntaxError) {
    return /position \d+|end of JSON input/.exec(error.message)?.[0] ?? 'not even its first word';
  }
  return error instanceof Error ? error.message : String(error);
}
