// Compiles a function's sources and the npm packages that they load into `handler.mjs`, as Node
// would find and load them. The packages that need their own files stay beside it.
import { existsSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { join, relative, sep } from 'node:path';
import {
  type BuildFailure,
  type BuildOptions,
  type BuildResult,
  build,
  type Message,
  type Metafile,
  type OnResolveArgs,
  type OnResolveResult,
  type Plugin,
} from 'esbuild';
import { ArtifactError } from './artifact-error.ts';
import {
  dependencyOn,
  isInstalled,
  isNativePackage,
  nameOf,
  refuseNative,
} from './native-packages.ts';
import { PLACES, placeModule, sourceInItsPlace } from './own-files.ts';
import { findKeptPackages, type KeptPackages, packageRoot } from './packages.ts';

export const HANDLER_FILE = 'handler.mjs';

/**
 * For Node 22 on every cloud. `__dirname` of a CommonJS dependency is the artifact's folder. The
 * conditions are those of Node; without them esbuild adds its own.
 */
const OPTIONS = {
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node22',
  outfile: HANDLER_FILE,
  sourcemap: 'external',
  legalComments: 'linked',
  keepNames: true,
  conditions: ['node-addons', 'module-sync'],
  loader: { '.wasm': 'binary' },
  define: { __dirname: 'import.meta.dirname', __filename: 'import.meta.filename' },
  metafile: true,
  write: false,
  // Nothing is written, but without this option esbuild refuses an entry named handler.mjs.
  allowOverwrite: true,
  logLevel: 'silent',
  logOverride: { 'unsupported-require-call': 'warning', 'unsupported-dynamic-import': 'warning' },
} satisfies BuildOptions;

/**
 * Defines `require` for CommonJS dependencies that call it at run time. Added only if the bundle
 * uses esbuild's `__require`: esbuild has then renamed any `require` of the publisher's, so the
 * names cannot clash.
 */
const REQUIRE_BANNER = `import { createRequire as defaasCreateRequire } from 'node:module';
const require = defaasCreateRequire(import.meta.url);`;

/** Namespace of the modules that stand for CommonJS modules of kept packages. */
const KEPT = 'kept';

type Built = BuildResult<typeof OPTIONS>;

export interface Compiled {
  /** `handler.mjs` and what belongs to it, by path, sorted. */
  readonly outputs: readonly (readonly [path: string, bytes: Uint8Array])[];
  /** Of everything in one bundle, kept packages too. */
  readonly metafile: Metafile;
  readonly kept: KeptPackages | undefined;
}

/** @throws ArtifactError ARTIFACT_ENTRY, ARTIFACT_IMPORT, ARTIFACT_BUNDLE, ARTIFACT_NATIVE_ADDON */
export async function compile(
  directory: string,
  entry: string,
  { folder, sources }: { readonly folder: string; readonly sources: boolean },
): Promise<Compiled> {
  // A tsconfig.json above the folder must not change the output.
  const tsconfig = join(directory, 'tsconfig.json');
  const options = {
    ...OPTIONS,
    sourcesContent: sources,
    absWorkingDir: directory,
    entryPoints: [entry],
    ...(existsSync(tsconfig) ? { tsconfig } : { tsconfigRaw: '{}' }),
  };
  const run = async (kept?: KeptPackages, banner?: BuildOptions['banner']): Promise<Built> =>
    await build({
      ...options,
      plugins: [packagesPlugin(directory, { kept })],
      ...(banner && { banner }),
    });
  try {
    const whole = await run();
    refuseComputedImports(whole.warnings);
    refuseNativePackages(directory, whole.metafile);
    if (!whole.metafile.outputs[HANDLER_FILE]?.exports.includes('default')) {
      const remedy = 'write export default async (request, context) => ...';
      throw new ArtifactError('ARTIFACT_ENTRY', `no default export, on ${entry}:1, ${remedy}`);
    }
    const kept = await findKeptPackages(directory, whole.metafile.inputs, (entries) =>
      trace(directory, entries),
    );
    const parted = kept ? await run(kept) : whole;
    const isRequiring = parted.outputFiles.some(({ text }) => text.includes('\nvar __require = '));
    const { outputFiles } = isRequiring ? await run(kept, { js: REQUIRE_BANNER }) : parted;
    const outputs = outputFiles
      .map(({ path, contents }) => [toPosix(relative(directory, path)), contents] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    return { outputs, metafile: whole.metafile, kept };
  } catch (failure) {
    throw isBuildFailure(failure) ? explain(failure, directory, folder) : failure;
  }
}

/** What more modules of kept packages load. One that does not compile counts alone. */
async function trace(directory: string, entries: readonly string[]): Promise<Metafile['inputs']> {
  const { outfile: _, ...options } = OPTIONS;
  return await build({
    ...options,
    absWorkingDir: directory,
    entryPoints: [...entries],
    outdir: 'traced',
    tsconfigRaw: '{}',
    loader: { '.wasm': 'binary', '.node': 'empty' },
    plugins: [packagesPlugin(directory, { isTrace: true })],
  }).then(
    ({ metafile }) => metafile.inputs,
    () => Object.fromEntries(entries.map((path) => [path, { bytes: 0, imports: [] }])),
  );
}

interface PackagesPlugin {
  readonly kept?: KeptPackages | undefined;
  /** Whatever is missing is left out. */
  readonly isTrace?: boolean;
}

/**
 * Leaves out what a package can be without, as npm does: what is not installed or has no build for
 * every cloud. Its `require` fails when it is called, and the package handles that. Refers to kept
 * packages in their place.
 */
function packagesPlugin(directory: string, { kept, isTrace = false }: PackagesPlugin): Plugin {
  return { name: 'packages', setup };

  function setup({ onResolve, onLoad, resolve }: Parameters<Plugin['setup']>[0]): void {
    onResolve({ filter: /^[^./]/ }, async (args) => {
      const { path, kind, importer, resolveDir, namespace, pluginData } = args;
      if (path.startsWith(`${PLACES}:`)) return undefined;
      if (pluginData === KEPT || kind === 'entry-point' || isBuiltin(path)) return undefined;
      const where = { kind, importer, resolveDir, namespace, pluginData: KEPT };
      const found = await resolve(path, where);
      if (found.errors.length > 0) return isDispensable(args) ? omitted(args) : undefined;
      const file = toPosix(relative(directory, found.path));
      const root = packageRoot(file);
      if (root === undefined) return undefined;
      if (kept?.roots.has(root)) return /\.[cm]?js$/.test(file) ? refer(kept, file) : undefined;
      const isNative = isNativePackage(directory, root);
      return isNative && isDispensable(args, true) ? omitted(args) : undefined;
    });
    onResolve({ filter: new RegExp(`^${PLACES}:`) }, ({ path }) => ({
      path: path.slice(PLACES.length + 1),
      namespace: PLACES,
    }));
    onLoad({ filter: /.*/, namespace: PLACES }, ({ path }) => ({ contents: placeModule(path) }));
    onLoad({ filter: /\.[cm]?[jt]sx?$/, namespace: 'file' }, ({ path }) =>
      sourceInItsPlace(directory, toPosix(relative(directory, path))),
    );
    onResolve({ filter: /.*/, namespace: KEPT }, ({ path }) => ({ path, external: true }));
    onLoad({ filter: /.*/, namespace: KEPT }, ({ path }) => ({
      contents: `module.exports = require(${JSON.stringify(path)});`,
      loader: 'js',
    }));
  }

  /** Whether the importing package may work without it. */
  function isDispensable({ importer, kind, path }: OnResolveArgs, isFound = false): boolean {
    if (isTrace) return true;
    const root = packageRoot(toPosix(relative(directory, importer)));
    if (root === undefined || kind === 'import-statement') return false;
    const name = nameOf(path);
    const relation = dependencyOn(directory, root, name);
    if (isFound || relation === 'optional') return relation === 'optional';
    // An installed package without this file: Node fails only when it is loaded.
    return relation === 'none' || isInstalled(importer, name);
  }

  function omitted({ path }: OnResolveArgs): OnResolveResult {
    return { path, external: true };
  }

  /** CommonJS goes through a module of its own, so that its exports read as in one bundle. */
  function refer({ isModule, pathInArtifact }: KeptPackages, file: string): OnResolveResult {
    const path = `./${pathInArtifact(file)}`;
    return isModule(file) ? { path, external: true } : { path, namespace: KEPT };
  }
}

/** In the publisher's own files; a package that does so is kept as files. */
function refuseComputedImports(warnings: readonly Message[]): void {
  const computed = warnings.find(
    ({ id, location }) =>
      id.startsWith('unsupported-') && !location?.file.includes('node_modules/'),
  );
  if (!computed) return;
  const line = `the name of a module is computed, on ${place(computed)}, name each module in full`;
  throw new ArtifactError('ARTIFACT_BUNDLE', line);
}

/** Refuses bundled packages that need a compiled addon. */
function refuseNativePackages(directory: string, { inputs }: Metafile): void {
  const paths = Object.keys(inputs);
  const roots = new Set(paths.flatMap((path) => packageRoot(path) ?? []));
  const native = [...roots].filter((root) => isNativePackage(directory, root));
  const importerOf = (root: string) =>
    paths.find(
      (path) =>
        !path.startsWith(`${root}/`) &&
        inputs[path]?.imports.some((imported) => imported.path.startsWith(`${root}/`)),
    ) ?? root;
  // Of a package and the loader that it brings, name the package.
  const [root] = native
    .filter((root) => !native.includes(packageRoot(importerOf(root)) ?? ''))
    .concat(native);
  if (root !== undefined) throw refuseNative(nameOf(root), importerOf(root));
}

/** Picks the most serious of esbuild's findings as the one line for the user. */
function explain(failure: BuildFailure, directory: string, folder: string): ArtifactError {
  const { errors } = failure;
  const addon = errors.find(({ text }) => /".node" files|resolve ".*\.node"$/.test(text));
  if (addon) {
    const root = packageRoot(toPosix(addon.location?.file ?? ''));
    const what = root ? nameOf(root) : (addon.text.split(': ').at(-1) ?? '.node');
    return refuseNative(what, place(addon), failure);
  }
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
  const packageName = nameOf(name);
  const isDeclared = dependencyOn(directory, '.', packageName) !== 'none';
  return `run npm install ${isDeclared ? '' : `${packageName} `}in ${folder}`;
}

function place({ location }: Message): string {
  return location ? `${toPosix(location.file)}:${location.line}` : 'defaas.json';
}

function isBuildFailure(failure: unknown): failure is BuildFailure {
  return failure instanceof Error && 'errors' in failure && Array.isArray(failure.errors);
}

function toPosix(path: string): string {
  return path.split(sep).join('/');
}
