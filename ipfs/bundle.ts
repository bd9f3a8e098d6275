// Bundles a function folder into an artifact's files: one `handler.mjs` with the handler and its
// npm dependencies, its source map, the manifest and the listed files. The output is byte-identical
// on every machine.
import { existsSync } from 'node:fs';
import { readFile, realpath } from 'node:fs/promises';
import { join, sep } from 'node:path';
import type { Metafile } from 'esbuild';
import { ArtifactError } from './artifact-error.ts';
import { compile, HANDLER_FILE } from './compile.ts';
import { findKey, isSecretFile, isSecretVariable } from './keys.ts';
import { encodeManifest, type Manifest, parseManifest } from './manifest.ts';
import { refuseNative } from './native-packages.ts';
import { refuseFilesLeftOut } from './own-files.ts';

export interface Bundle {
  /** Normalised; its `entry` is `handler.mjs`. */
  readonly manifest: Manifest;
  /**
   * The manifest as bytes: `defaas.json` in the artifact, and also the block of the manifest's CID.
   */
  readonly manifestBytes: Uint8Array;
  readonly files: Map<string, Uint8Array>;
}

const MANIFEST_FILE = 'defaas.json';

/** Reserved file names: an adapter, a cloud or the bundler itself creates them. */
const RESERVED_FILE =
  /^(handler\.mjs.*|defaas\.json|package(-lock)?\.json|host\.json|fetch-(call|answer)\.mjs|(aws|gcp|azure|local)\.[cm]?js|(node_modules|npm)\/.*)$/i;

/** The publisher's sources up to this size are scanned for keys, bytes. */
const MAX_SEARCHED_BYTES = 1024 * 1024;

export interface BundleOptions {
  /** Puts the text of the sources into the source map, which else has only names and lines. */
  readonly sources?: boolean;
}

/**
 * Bundles the function in a folder. Only reads files; runs none of the publisher's code.
 * @throws ArtifactError NOT_A_FUNCTION_FOLDER  no such folder, or no defaas.json in it
 * @throws ArtifactError ARTIFACT_MANIFEST, ARTIFACT_ENTRY, ARTIFACT_IMPORT, ARTIFACT_BUNDLE,
 *   ARTIFACT_NATIVE_ADDON, ARTIFACT_SECRET, ARTIFACT_INVALID (a listed file)  each with file and
 *   line
 */
export async function bundle(
  folder: string,
  { sources = false }: BundleOptions = {},
): Promise<Bundle> {
  const directory = await realpath(folder).catch((cause) => notAFolder(folder, cause));
  const written = await readFile(join(directory, MANIFEST_FILE)).catch((cause) =>
    notAFolder(folder, cause),
  );
  const source = parseManifest(written);
  refuseSecretVariables(source);
  refuseMissingEntry(directory, source.entry);
  const { outputs, metafile, kept } = await compile(directory, source.entry, {
    folder,
    sources,
  });
  refuseFilesLeftOut(directory, metafile.inputs, source.files);
  await refuseSecretSources(directory, metafile);

  const manifest = { ...source, entry: HANDLER_FILE };
  const manifestBytes = encodeManifest(manifest);
  const files = new Map(outputs);
  for (const [path, here] of kept?.files ?? []) {
    files.set(path, await readFile(join(directory, here)));
  }
  for (const path of source.files) files.set(path, await readListed(directory, path));
  files.set(MANIFEST_FILE, manifestBytes);
  return { manifest, manifestBytes, files };
}

function refuseMissingEntry(directory: string, entry: string): void {
  if (!entry.split('/').includes('..') && existsSync(join(directory, entry))) return;
  throw new ArtifactError(
    'ARTIFACT_ENTRY',
    `no file ${entry}, on ${MANIFEST_FILE}, create it or name another entry`,
  );
}

function refuseSecretVariables({ env }: Manifest): void {
  const name = Object.keys(env).find((key) => isSecretVariable(key, env[key] ?? ''));
  if (name === undefined) return;
  const remedy = 'name it in secrets and set it with defaas secret set';
  throw new ArtifactError(
    'ARTIFACT_SECRET',
    `env.${name} looks like a key, on ${MANIFEST_FILE}, ${remedy}`,
  );
}

/** Searches the publisher's own sources for keys; npm packages are public already. */
async function refuseSecretSources(directory: string, metafile: Metafile): Promise<void> {
  for (const [path, { bytes }] of Object.entries(metafile.inputs)) {
    if (path.includes('node_modules/') || bytes > MAX_SEARCHED_BYTES) continue;
    const onDisk = await readFile(join(directory, path)).catch(() => undefined);
    if (onDisk) refuseSecretFile(path, onDisk);
  }
}

function refuseSecretFile(path: string, bytes: Uint8Array): void {
  const remedy = 'the artifact is public: take it out';
  const text = Buffer.from(bytes).toString('latin1', 0, MAX_SEARCHED_BYTES);
  if (isSecretFile(path, text)) {
    throw new ArtifactError('ARTIFACT_SECRET', `a file of secrets, on ${path}, ${remedy}`);
  }
  const line = findKey(text);
  if (line !== undefined) {
    throw new ArtifactError(
      'ARTIFACT_SECRET',
      `text looks like a key, on ${path}:${line}, ${remedy}`,
    );
  }
}

async function readListed(directory: string, path: string): Promise<Uint8Array> {
  const refuse = (why: string, cause?: unknown) => {
    const line = `files names ${path}, which ${why}, on ${MANIFEST_FILE}, correct it`;
    return new ArtifactError('ARTIFACT_INVALID', line, cause);
  };
  const isPlain = path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
  if (!isPlain || /[\\\0]/.test(path)) throw refuse('is not a path inside the folder');
  if (RESERVED_FILE.test(path)) throw refuse('is a name that DeFaaS or a cloud uses itself');
  if (path.endsWith('.node')) throw refuseNative(path, MANIFEST_FILE);
  const real = await realpath(join(directory, path)).catch((cause) => {
    throw refuse('does not exist', cause);
  });
  if (!real.startsWith(directory + sep)) throw refuse('leads out of the folder');
  const bytes = await readFile(real).catch((cause) => {
    throw refuse('is not a readable file', cause);
  });
  refuseSecretFile(path, bytes);
  return bytes;
}

function notAFolder(folder: string, cause: unknown): never {
  throw new ArtifactError(
    'NOT_A_FUNCTION_FOLDER',
    `no ${MANIFEST_FILE}, in ${folder}, run defaas init ${folder}`,
    cause,
  );
}
