// The functions of the Lambda emulator: versions, aliases, tags and limits as the API shows them.
// Each change is on disk before it is answered. `invocations.ts` runs the functions.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readZip, UnzipError, unzip } from '../../../runtime/unzip.ts';
import { writeWhole } from '../../../runtime/whole-file.ts';
import { invalidParameter, notFound, tooLarge } from './errors.ts';
import { MAX_UNPACKED_BYTES, MAX_ZIP_BYTES } from './limits.ts';
import type { Owner } from './names.ts';
import {
  type Alias,
  type Configuration,
  isSettling,
  type LambdaFunction,
  makeReady,
} from './records.ts';

export interface Functions extends Owner {
  /** Sorted by name. */
  all(): LambdaFunction[];
  find(name: string): LambdaFunction | undefined;
  /** @throws AwsError 404 with the ARN as asked for */
  get(name: string, qualifier?: string): LambdaFunction;
  /**
   * The configuration of a version number, of an alias (drawn by its weights) or of `$LATEST`.
   * @throws AwsError 404
   */
  version(of: LambdaFunction, qualifier?: string): Configuration;
  /** The configuration as the API shows it to who asks with this qualifier: its ARN has it. */
  shown(of: LambdaFunction, qualifier?: string): Configuration;
  arn(name: string, qualifier?: string): string;
  /** Durable when it resolves. */
  save(changed: LambdaFunction): Promise<void>;
  remove(name: string): Promise<void>;
  /** Checks a zip and stores it. @throws AwsError 400, 413 */
  storeCode(zip: Uint8Array): Promise<{ CodeSha256: string; CodeSize: number }>;
  /** Path of a stored zip. */
  zipFile(codeSha256: string): string;
  /** The folder with the unpacked code. Unpacks on first use. */
  codeDir(codeSha256: string): string;
  /** Makes pending and updating configurations ready after `settleMs`. */
  settle(changed: LambdaFunction): void;
  close(): Promise<void>;
}

export function openFunctions(options: {
  readonly dir: string;
  readonly region: string;
  readonly accountId: string;
  /** How long a function is `Pending` or `InProgress`. */
  readonly settleMs: number;
  /** Hashes of zips that are not a function's: those of layers. */
  readonly otherCode: () => readonly string[];
}): Functions {
  const { dir, region, accountId, settleMs } = options;
  const recordsDir = join(dir, 'functions');
  const zipsDir = join(dir, 'zips');
  const codeRoot = join(dir, 'code');
  for (const each of [recordsDir, zipsDir, codeRoot]) mkdirSync(each, { recursive: true });

  const functions = new Map<string, LambdaFunction>();
  const timers = new Set<NodeJS.Timeout>();
  /** The last write. Writes run in order, so that an older state never overwrites a newer one. */
  let writing: Promise<unknown> = Promise.resolve();

  for (const file of readdirSync(recordsDir)) {
    if (!file.endsWith('.json')) continue;
    // `save` writes whole files of this type.
    const read: LambdaFunction = JSON.parse(readFileSync(join(recordsDir, file), 'utf8'));
    functions.set(read.name, read);
  }

  const arn = (name: string, qualifier?: string) =>
    `arn:aws:lambda:${region}:${accountId}:function:${name}${qualifier ? `:${qualifier}` : ''}`;

  function inOrder<T>(work: () => Promise<T>): Promise<T> {
    const done = writing.then(work);
    writing = done.catch(() => undefined);
    return done;
  }

  const store: Functions = {
    region,
    accountId,
    all: () => [...functions.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
    find: (name) => functions.get(name),
    arn,

    get(name, qualifier) {
      const found = functions.get(name);
      if (!found) throw notFound(`Function not found: ${arn(name, qualifier)}`);
      return found;
    },

    version(of, qualifier) {
      if (qualifier === undefined || qualifier === '$LATEST') return of.latest;
      const alias = of.aliases.find(({ Name }) => Name === qualifier);
      const number = alias ? pickVersion(alias) : qualifier;
      const found =
        number === '$LATEST' ? of.latest : of.versions.find(({ Version }) => Version === number);
      if (!found) throw notFound(`Function not found: ${arn(of.name, qualifier)}`);
      return found;
    },

    shown: (of, qualifier) => ({
      ...store.version(of, qualifier),
      FunctionArn: arn(of.name, qualifier),
    }),

    save(changed) {
      functions.set(changed.name, changed);
      return inOrder(() =>
        // Removed meanwhile: a late change of its state must not bring it back.
        functions.get(changed.name) === changed
          ? writeWhole(join(recordsDir, `${changed.name}.json`), JSON.stringify(changed))
          : Promise.resolve(),
      );
    },

    remove(name) {
      functions.delete(name);
      return inOrder(async () => {
        if (!functions.has(name)) rmSync(join(recordsDir, `${name}.json`), { force: true });
        sweepCode(functions, options.otherCode(), zipsDir, codeRoot);
      });
    },

    async storeCode(zip) {
      if (zip.length > MAX_ZIP_BYTES) {
        throw tooLarge(`Zipped size must be smaller than ${MAX_ZIP_BYTES} bytes`);
      }
      checkZip(zip);
      const hash = createHash('sha256').update(zip).digest();
      const path = join(zipsDir, `${hash.toString('hex')}.zip`);
      if (!existsSync(path)) await writeWhole(path, zip);
      return { CodeSha256: hash.toString('base64'), CodeSize: zip.length };
    },

    zipFile: (codeSha256) => join(zipsDir, `${hexOf(codeSha256)}.zip`),

    codeDir(codeSha256) {
      const hex = hexOf(codeSha256);
      const target = join(codeRoot, hex);
      // The mark is written last. Without it the unpacking was cut off and is done again.
      const mark = join(codeRoot, `${hex}.whole`);
      if (existsSync(mark)) return target;
      rmSync(target, { recursive: true, force: true });
      mkdirSync(target, { recursive: true });
      unzip(readFileSync(join(zipsDir, `${hex}.zip`)), target, MAX_UNPACKED_BYTES);
      void writeWhole(mark, '').catch(() => undefined);
      return target;
    },

    settle(changed) {
      const timer = setTimeout(() => {
        timers.delete(timer);
        if (functions.get(changed.name) !== changed) return;
        store.codeDir(changed.latest.CodeSha256);
        makeReady(changed);
        void store.save(changed);
      }, settleMs);
      timers.add(timer);
    },

    async close() {
      for (const timer of timers) clearTimeout(timer);
      await writing;
    },
  };

  // Resume the changes that a restart has cut off.
  for (const each of functions.values()) if (isSettling(each)) store.settle(each);
  return store;
}

/** The same for the same name and qualifier, also after the function was created again. */
export function urlId({ arn }: Functions, name: string, qualifier: string): string {
  return createHash('sha256').update(arn(name, qualifier)).digest('hex').slice(0, 32);
}

function pickVersion({ FunctionVersion, RoutingConfig }: Alias): string {
  const [extra] = Object.entries(RoutingConfig?.AdditionalVersionWeights ?? {});
  return extra && Math.random() < extra[1] ? extra[0] : FunctionVersion;
}

function checkZip(zip: Uint8Array): void {
  try {
    readZip(zip, MAX_UNPACKED_BYTES);
  } catch (error) {
    if (error instanceof UnzipError && error.reason === 'too-large') {
      throw invalidParameter(`Unzipped size must be smaller than ${MAX_UNPACKED_BYTES} bytes`);
    }
    throw invalidParameter(
      'Could not unzip uploaded file. Please check your file, then try to upload again.',
    );
  }
}

/** The name of a stored zip. `CodeSha256` is base64. */
function hexOf(codeSha256: string): string {
  return Buffer.from(codeSha256, 'base64').toString('hex');
}

/** Deletes code that no version and no layer uses. */
function sweepCode(
  functions: ReadonlyMap<string, LambdaFunction>,
  otherCode: readonly string[],
  zipsDir: string,
  codeRoot: string,
): void {
  const used = new Set(otherCode.map(hexOf));
  for (const { latest, versions } of functions.values()) {
    for (const { CodeSha256 } of [latest, ...versions]) {
      used.add(hexOf(CodeSha256));
    }
  }
  for (const folder of [zipsDir, codeRoot]) {
    for (const entry of readdirSync(folder)) {
      const [hex = ''] = entry.split('.');
      if (!used.has(hex)) rmSync(join(folder, entry), { recursive: true, force: true });
    }
  }
}
