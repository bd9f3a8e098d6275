// The functions of the Lambda emulator: versions, aliases, tags and limits as the API shows them.
// Each change is on disk before it is answered. `invocations.ts` runs the functions.

import { createHash, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readZip, UnzipError, unzip } from '../../../runtime/unzip.ts';
import { writeWhole } from '../../../runtime/whole-file.ts';
import { invalidParameter, notFound, tooLarge } from './errors.ts';

/** The configuration of a version as the API shows it: all fields that apply to a zip function. */
export interface Configuration {
  FunctionName: string;
  FunctionArn: string;
  Runtime: string;
  Role: string;
  Handler: string;
  CodeSize: number;
  Description: string;
  Timeout: number;
  MemorySize: number;
  LastModified: string;
  CodeSha256: string;
  Version: string;
  Environment?: { Variables: Record<string, string> };
  TracingConfig: { Mode: string };
  RevisionId: string;
  State: 'Pending' | 'Active' | 'Failed';
  StateReason?: string;
  StateReasonCode?: string;
  LastUpdateStatus?: 'InProgress' | 'Successful' | 'Failed';
  LastUpdateStatusReason?: string;
  LastUpdateStatusReasonCode?: string;
  PackageType: 'Zip';
  Architectures: string[];
  EphemeralStorage: { Size: number };
  SnapStart: { ApplyOn: string; OptimizationStatus: string };
  RuntimeVersionConfig: { RuntimeVersionArn: string };
  LoggingConfig: { LogFormat: string; LogGroup: string };
  KMSKeyArn?: string;
}

export interface Alias {
  AliasArn: string;
  Name: string;
  FunctionVersion: string;
  Description: string;
  RoutingConfig?: { AdditionalVersionWeights: Record<string, number> };
  RevisionId: string;
}

export interface LambdaFunction {
  readonly name: string;
  latest: Configuration;
  /** Published versions, oldest first. Only their state changes. */
  versions: Configuration[];
  nextVersion: number;
  /** `RevisionId` of `$LATEST` when it was last published. Unchanged, it is not published again. */
  publishedRevision?: string;
  aliases: Alias[];
  tags: Record<string, string>;
  reservedConcurrency?: number;
  /** By qualifier. Calls without a qualifier have `$LATEST`. */
  eventInvoke?: Record<string, EventInvokeConfig>;
  /** By qualifier, like `eventInvoke`. */
  urls?: Record<string, FunctionUrlConfig>;
}

export interface EventInvokeConfig {
  /** Unix time, seconds. */
  LastModified: number;
  FunctionArn: string;
  MaximumRetryAttempts?: number;
  MaximumEventAgeInSeconds?: number;
  DestinationConfig: { OnSuccess: object; OnFailure: object };
}

export interface FunctionUrlConfig {
  FunctionArn: string;
  AuthType: 'NONE' | 'AWS_IAM';
  CreationTime: string;
  LastModifiedTime: string;
  InvokeMode: 'BUFFERED';
}

export interface Functions {
  readonly region: string;
  readonly accountId: string;
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
  arn(name: string, qualifier?: string): string;
  /** Durable when it resolves. */
  save(changed: LambdaFunction): Promise<void>;
  remove(name: string): Promise<void>;
  /** Checks a zip and stores it. @throws AwsError 400, 413 */
  storeCode(zip: Uint8Array): Promise<{ CodeSha256: string; CodeSize: number }>;
  /** The folder with the unpacked code. Unpacks on first use. */
  codeDir(codeSha256: string): string;
  /** Makes pending and updating configurations ready after `settleMs`. */
  settle(changed: LambdaFunction): void;
  close(): Promise<void>;
}

/** Largest zip in a request and largest unpacked code, bytes (in the API's errors). */
const MAX_ZIP_BYTES = 52_428_800;
const MAX_UNPACKED_BYTES = 262_144_000;

export function openFunctions(options: {
  readonly dir: string;
  readonly region: string;
  readonly accountId: string;
  /** How long a function is `Pending` or `InProgress`. */
  readonly settleMs: number;
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
        sweepCode(functions, zipsDir, codeRoot);
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

    codeDir(codeSha256) {
      const hex = Buffer.from(codeSha256, 'base64').toString('hex');
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
        for (const each of [changed.latest, ...changed.versions]) makeReady(each);
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

/** Whether the API would refuse another update. */
export function isSettling({ latest, versions }: LambdaFunction): boolean {
  return [latest, ...versions].some(
    ({ State, LastUpdateStatus }) => State === 'Pending' || LastUpdateStatus === 'InProgress',
  );
}

/** Marks a configuration as being created or updated. */
export function markSettling(configuration: Configuration, what: 'create' | 'update'): void {
  const reason = 'The function is being created.';
  if (what === 'create') {
    configuration.State = 'Pending';
    configuration.StateReason = reason;
    configuration.StateReasonCode = 'Creating';
    return;
  }
  configuration.LastUpdateStatus = 'InProgress';
  configuration.LastUpdateStatusReason = reason;
  configuration.LastUpdateStatusReasonCode = 'Creating';
}

export function touch(configuration: Configuration, nowMs: number): void {
  configuration.RevisionId = randomUUID();
  configuration.LastModified = new Date(nowMs).toISOString().replace('Z', '+0000');
}

function makeReady(configuration: Configuration): void {
  if (configuration.State === 'Failed' || configuration.LastUpdateStatus === 'Failed') return;
  configuration.State = 'Active';
  configuration.LastUpdateStatus = 'Successful';
  delete configuration.StateReason;
  delete configuration.StateReasonCode;
  delete configuration.LastUpdateStatusReason;
  delete configuration.LastUpdateStatusReasonCode;
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

/** Deletes code that no version uses. */
function sweepCode(
  functions: ReadonlyMap<string, LambdaFunction>,
  zipsDir: string,
  codeRoot: string,
): void {
  const used = new Set<string>();
  for (const { latest, versions } of functions.values()) {
    for (const { CodeSha256 } of [latest, ...versions]) {
      used.add(Buffer.from(CodeSha256, 'base64').toString('hex'));
    }
  }
  for (const folder of [zipsDir, codeRoot]) {
    for (const entry of readdirSync(folder)) {
      const [hex = ''] = entry.split('.');
      if (!used.has(hex)) rmSync(join(folder, entry), { recursive: true, force: true });
    }
  }
}
