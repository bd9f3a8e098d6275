// Bundles a function folder into an artifact's files: one `handler.mjs` with the handler and its
// npm dependencies, its source map, the manifest and the listed files. The output is byte-identical
// on every machine.
import { existsSync, readFileSync } from 'node:fs';
import { readFile, realpath } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { type BuildFailure, type BuildOptions, build, type Message, type Metafile } from 'esbuild';
import { ArtifactError } from './artifact-error.ts';
import { findKey, isSecretFile, isSecretVariable } from './keys.ts';
import { encodeManifest, type Manifest, parseManifest } from './manifest.ts';

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
const HANDLER_FILE = 'handler.mjs';

/** Reserved file names: an adapter, a cloud or the bundler itself creates them. */
const RESERVED_FILE =
  /^(handler\.mjs.*|defaas\.json|package(-lock)?\.json|host\.json|fetch-(call|answer)\.mjs|(aws|gcp|azure|local)\.[cm]?js|node_modules\/.*)$/i;

/** Packages that load a compiled addon at run time, which no bundler can follow. */
const ADDON_LOADERS = new Set([
  'bindings',
  'node-gyp-build',
  'node-gyp-build-optional-packages',
  'node-pre-gyp',
  '@mapbox/node-pre-gyp',
  'prebuild-install',
]);

/** The publisher's sources up to this size are scanned for keys, bytes. */
const MAX_SEARCHED_BYTES = 1024 * 1024;

/** For Node 22 on every cloud. `__dirname` of a CommonJS dependency is the artifact's folder. */
const OPTIONS = {
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node22',
  outfile: HANDLER_FILE,
  sourcemap: 'external',
  legalComments: 'linked',
  keepNames: true,
  loader: { '.wasm': 'binary' },
  define: { __dirname: 'import.meta.dirname', __filename: 'import.meta.filename' },
  metafile: true,
  write: false,
  // Nothing is written, but without this option esbuild refuses an entry named handler.mjs.
  allowOverwrite: true,
  logLevel: 'silent',
} satisfies BuildOptions;

/**
 * Defines `require` for CommonJS dependencies that call it at run time. Added only if the bundle
 * uses esbuild's `__require`: esbuild has then renamed any `require` of the publisher's, so the
 * names cannot clash.
 */
const REQUIRE_BANNER = `import { createRequire as defaasCreateRequire } from 'node:module';
const require = defaasCreateRequire(import.meta.url);`;

/**
 * Bundles the function in a folder. Only reads files; runs none of the publisher's code.
 * @throws ArtifactError NOT_A_FUNCTION_FOLDER  no such folder, or no defaas.json in it
 * @throws ArtifactError ARTIFACT_MANIFEST, ARTIFACT_ENTRY, ARTIFACT_IMPORT, ARTIFACT_BUNDLE,
 *   ARTIFACT_NATIVE_ADDON, ARTIFACT_SECRET, ARTIFACT_INVALID (a listed file)  each with file and
 *   line
 */
export async function bundle(folder: string): Promise<Bundle> {
  const directory = await realpath(folder).catch((cause) => notAFolder(folder, cause));
  const written = await readFile(join(directory, MANIFEST_FILE)).catch((cause) =>
    notAFolder(folder, cause),
  );
  const source = parseManifest(written);
  refuseSecretVariables(source);
  const { outputs, metafile } = await compile(directory, source.entry, folder);
  refuseAddonPackages(directory, metafile);
  await refuseSecretSources(directory, metafile);

  const manifest = { ...source, entry: HANDLER_FILE };
  const manifestBytes = encodeManifest(manifest);
  const files = new Map(outputs);
  for (const path of source.files) files.set(path, await readListed(directory, path));
  files.set(MANIFEST_FILE, manifestBytes);
  return { manifest, manifestBytes, files };
}

async function compile(directory: string, entry: string, folder: string) {
  if (entry.split('/').includes('..') || !existsSync(join(directory, entry))) {
    throw new ArtifactError(
      'ARTIFACT_ENTRY',
      `no file ${entry}, on ${MANIFEST_FILE}, create it or name another entry`,
    );
  }
  // A tsconfig.json above the folder must not change the output.
  const tsconfig = join(directory, 'tsconfig.json');
  const options = {
    ...OPTIONS,
    absWorkingDir: directory,
    entryPoints: [entry],
    ...(existsSync(tsconfig) ? { tsconfig } : { tsconfigRaw: '{}' }),
  };
  const result = await build(options)
    .then(async (first) =>
      first.outputFiles.some(({ text }) => text.includes('\nvar __require = '))
        ? await build({ ...options, banner: { js: REQUIRE_BANNER } })
        : first,
    )
    .catch((failure) => {
      throw isBuildFailure(failure) ? explain(failure, directory, folder) : failure;
    });

  if (!result.metafile.outputs[HANDLER_FILE]?.exports.includes('default')) {
    const remedy = 'write export default async (request, context) => ...';
    throw new ArtifactError('ARTIFACT_ENTRY', `no default export, on ${entry}:1, ${remedy}`);
  }
  const outputs = result.outputFiles.map(
    ({ path, contents }) => [toPosix(relative(directory, path)), contents] as const,
  );
  outputs.sort(([a], [b]) => (a < b ? -1 : 1));
  return { outputs, metafile: result.metafile };
}

/** Picks the most serious of esbuild's findings as the one line for the user. */
function explain(failure: BuildFailure, directory: string, folder: string): ArtifactError {
  const { errors } = failure;
  const addon = errors.find(({ text }) => text.includes('".node" files'));
  if (addon) return refuseAddon(addon.text.split(': ').at(-1) ?? '.node', place(addon), failure);
  const unresolved = errors.find(({ text }) => text.startsWith('Could not resolve'));
  if (unresolved) {
    const name = /"(.+?)"/.exec(unresolved.text)?.[1] ?? 'an import';
    const remedy = /^[./]/.test(name) ? 'correct the path' : install(name, directory, folder);
    const line = `cannot resolve ${name}, on ${place(unresolved)}, ${remedy}`;
    return new ArtifactError('ARTIFACT_IMPORT', line, failure);
  }
  const [first] = errors;
  const what = first?.text ?? failure.message;
  const line = `${what}, on ${first ? place(first) : 'the entry'}, correct it`;
  return new ArtifactError('ARTIFACT_BUNDLE', line, failure);
}

function install(name: string, directory: string, folder: string): string {
  const packageName = name.split('/', name.startsWith('@') ? 2 : 1).join('/');
  const described = readIfThere(join(directory, 'package.json'));
  const isDeclared = described.includes(JSON.stringify(packageName));
  return `run npm install ${isDeclared ? '' : `${packageName} `}in ${folder}`;
}

/** Refuses bundled packages (from the metafile) that need a compiled addon. */
function refuseAddonPackages(directory: string, metafile: Metafile): void {
  const inputs = Object.keys(metafile.inputs);
  const roots = new Set(
    inputs.flatMap((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? []),
  );
  for (const root of roots) {
    const name = root.split('node_modules/').at(-1) ?? root;
    const text = readIfThere(join(directory, root, 'package.json')) || '{}';
    const described: Record<string, unknown> = JSON.parse(text);
    const isNative =
      ADDON_LOADERS.has(name) ||
      described.gypfile === true ||
      'binary' in described ||
      'napi' in described ||
      existsSync(join(directory, root, 'binding.gyp'));
    if (!isNative) continue;
    const importer = inputs.find(
      (path) =>
        !path.startsWith(`${root}/`) &&
        metafile.inputs[path]?.imports.some((imported) => imported.path.startsWith(`${root}/`)),
    );
    throw refuseAddon(name, importer ?? root);
  }
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
  if (isSecretFile(path)) {
    throw new ArtifactError('ARTIFACT_SECRET', `a file of secrets, on ${path}, ${remedy}`);
  }
  const line = findKey(Buffer.from(bytes).toString('latin1', 0, MAX_SEARCHED_BYTES));
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
  if (path.endsWith('.node')) throw refuseAddon(path, MANIFEST_FILE);
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

function refuseAddon(what: string, where: string, cause?: unknown): ArtifactError {
  const remedy = 'use a library in JavaScript or WASM';
  const line = `native addon ${what} cannot run on every cloud, on ${where}, ${remedy}`;
  return new ArtifactError('ARTIFACT_NATIVE_ADDON', line, cause);
}

function notAFolder(folder: string, cause: unknown): never {
  throw new ArtifactError(
    'NOT_A_FUNCTION_FOLDER',
    `no ${MANIFEST_FILE}, in ${folder}, run defaas init ${folder}`,
    cause,
  );
}

function readIfThere(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

function place({ location }: Message): string {
  return location ? `${toPosix(location.file)}:${location.line}` : MANIFEST_FILE;
}

function isBuildFailure(failure: unknown): failure is BuildFailure {
  return failure instanceof Error && 'errors' in failure && Array.isArray(failure.errors);
}

function toPosix(path: string): string {
  return path.split(sep).join('/');
}
