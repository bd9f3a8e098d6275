// Builds an uploaded zip as Google does, as far as that works without a package registry: unpacks
// it, finds the entry, and links the functions-framework that its package.json names.

import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { UnzipError, unzip } from '../../../runtime/unzip.ts';

/** The build failed. The operation reports the message. */
export class BuildError extends Error {
  override readonly name = 'BuildError';
}

/** Most bytes of an unpacked source (Cloud Functions quotas, first generation). */
const MAX_UNPACKED_BYTES = 500 * 1024 * 1024;
const FRAMEWORK = '@google-cloud/functions-framework';

/** Creates `codeDir` and unpacks into it. Removes it on failure. @throws BuildError */
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

/** Links to our own copy instead of installing. A package in the zip takes precedence. */
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
