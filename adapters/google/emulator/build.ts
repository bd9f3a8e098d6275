// What Google's build does with an uploaded zip, as far as an emulator without a package registry can: unpack it, look for
// the entry, and supply the functions-framework that its package.json asks for.

import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { UnzipError, unzip } from '../../runtime/unzip.ts';

/** Why the build failed, as the operation tells it. */
export class BuildError extends Error {
  override readonly name = 'BuildError';
}

/** Most bytes of an unpacked source (Cloud Functions quotas, first generation). */
const MAX_UNPACKED_BYTES = 500 * 1024 * 1024;
const FRAMEWORK = '@google-cloud/functions-framework';

/** Unpacks into `codeDir`, which is made. @throws BuildError, and leaves nothing behind */
export function build(zip: Uint8Array, codeDir: string): void {
  rmSync(codeDir, { recursive: true, force: true });
  mkdirSync(codeDir, { recursive: true });
  try {
    unzip(zip, codeDir, MAX_UNPACKED_BYTES);
    const { main, dependencies } = readManifest(codeDir);
    const entry = ['index.js', 'function.js', main].findLast(
      (file) => file !== undefined && existsSync(join(codeDir, file)),
    );
    if (entry === undefined) {
      throw new BuildError(`missing main file: ${main ?? 'index.js or function.js'}`);
    }
    for (const name of new Set([...Object.keys(dependencies), FRAMEWORK])) supply(name, codeDir);
  } catch (error) {
    rmSync(codeDir, { recursive: true, force: true });
    if (error instanceof UnzipError) throw new BuildError(error.message, { cause: error });
    throw error;
  }
}

function readManifest(codeDir: string): {
  main: string | undefined;
  dependencies: Record<string, string>;
} {
  const file = join(codeDir, 'package.json');
  if (!existsSync(file)) return { main: undefined, dependencies: {} };
  try {
    const { main, dependencies } = JSON.parse(readFileSync(file, 'utf8'));
    return { main, dependencies: dependencies ?? {} };
  } catch (cause) {
    throw new BuildError('package.json is not JSON', { cause });
  }
}

/** A link to ours instead of an installation; what the zip itself brings goes first. */
function supply(name: string, codeDir: string): void {
  const place = join(codeDir, 'node_modules', name);
  if (existsSync(place)) return;
  if (name !== FRAMEWORK) {
    throw new BuildError(`the emulator installs no packages: bundle ${name} or put it in the zip`);
  }
  mkdirSync(dirname(place), { recursive: true });
  symlinkSync(frameworkDir(), place, 'dir');
}

function frameworkDir(): string {
  const entry = createRequire(import.meta.url).resolve(FRAMEWORK);
  return entry.slice(0, entry.lastIndexOf(FRAMEWORK) + FRAMEWORK.length);
}
