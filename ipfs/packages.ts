// Decides which npm packages of a function stay files of their own in its artifact, below `npm/`. A
// package that finds files by its own path (`__dirname`, `import.meta.url`, `require.resolve`) or
// modules by a computed name does not work in one bundled file. It stays as it is, with its data
// files and with every package that it loads, so that Node finds there what it finds here.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { extname, isAbsolute, join, posix, relative, resolve, sep } from 'node:path';
import type { Metafile } from 'esbuild';
import { ArtifactError } from './artifact-error.ts';
import { isNativePackage } from './native-packages.ts';

/** Folder of the artifact that holds the packages; Google's build clears `node_modules`. */
export const PACKAGES_FOLDER = 'npm';

type Inputs = Metafile['inputs'];

/** Paths are relative to the function's folder, as in esbuild's metafile. */
export interface KeptPackages {
  /** Their folders. */
  readonly roots: ReadonlySet<string>;
  /** Path in the artifact -> path here. */
  readonly files: ReadonlyMap<string, string>;
  /** The artifact's path of a file of theirs. */
  pathInArtifact(path: string): string;
  /** Whether a file of theirs is an ES module. */
  isModule(path: string): boolean;
}

/** Bundles more entries, to find out what they load. */
type Trace = (entries: readonly string[]) => Promise<Inputs>;

const BY_PATH =
  /\b__(?:dir|file)name\b|\bimport\.meta\.(?:url|dirname|filename)\b|\brequire\.resolve\b/;
const BY_NAME =
  /\bcreateRequire\b|\brequire\(\s*[^\s'"`)]|\brequire\(\s*`[^`]*\$\{|\bimport\(\s*[^\s'"`)/]|\beval\(['"]quire/;
/** One or more texts with commas between them, as in `join(__dirname, 'lib', 'worker.js')`. */
const TEXTS = /(['"`])[\w@./-]+\1(?:\s*,\s*(['"`])[\w@./-]+\2)*/g;
/** `require('x')` under any name that ends so. */
const REQUIRES = /require[\w$]*\(\s*(['"`])([^'"`]+)\1\s*\)/gi;

/** What is before the `node_modules` of a package's place: folders above, or pnpm's store. */
const OUTSIDE = /^(?:.*?(?<=^|\/)node_modules\/\.pnpm\/[^/]+\/|.*?(?<=^|\/)(?=node_modules\/))/;

const CODE = new Set(['.js', '.cjs', '.mjs']);
/** Nothing that runs, or a copy of it. */
const LEFT_OUT = /\.(?:[cm]?[jt]sx?|map|md|markdown|flow|gyp|node|zip|tgz|gz|br|exe|tsbuildinfo)$/i;
const LEFT_OUT_FOLDER = /^(?:node_modules|tests?|__tests__|docs?|examples?|benchmarks?|\..*)$/i;

/**
 * The packages to keep as files, or undefined if there is none. `inputs` are those of the whole
 * bundle.
 */
export async function findKeptPackages(
  directory: string,
  inputs: Inputs,
  trace: Trace,
): Promise<KeptPackages | undefined> {
  const all: Inputs = { ...inputs };
  const scanned = new Set<string>();
  const signed = new Set<string>();
  const named = new Set<string>();
  for (;;) {
    const entries = new Set<string>();
    for (const path of Object.keys(all)) {
      const root = packageRoot(path);
      if (scanned.has(path) || root === undefined || !isCode(path)) continue;
      scanned.add(path);
      const text = read(directory, path);
      const isByName = BY_NAME.test(text);
      if (!isByName && !BY_PATH.test(text)) continue;
      signed.add(root);
      for (const file of filesNamed(directory, path, text)) entries.add(file);
      if (isByName) for (const file of modulesNamed(directory, path, text)) entries.add(file);
    }
    const unknown = [...entries].filter((path) => !(path in all)).sort();
    for (const path of entries) named.add(packageRoot(path) ?? '');
    if (unknown.length === 0) break;
    Object.assign(all, await trace(unknown));
  }
  if (signed.size === 0) return undefined;
  return keep(directory, all, signed, reachable(all, [...signed, ...named]));
}

function keep(
  directory: string,
  inputs: Inputs,
  whole: ReadonlySet<string>,
  roots: ReadonlySet<string>,
): KeptPackages {
  const paths = new Set<string>();
  for (const path of Object.keys(inputs)) {
    const root = packageRoot(path);
    if (root === undefined || !roots.has(root)) continue;
    paths.add(path);
    for (let folder = posix.dirname(path); ; folder = posix.dirname(folder)) {
      const described = posix.join(folder, 'package.json');
      if (existsSync(join(directory, described))) paths.add(described);
      if (folder === root) break;
    }
  }
  for (const root of roots) {
    for (const path of dataFiles(directory, root, whole.has(root))) paths.add(path);
  }
  const levels = levelsOf(directory, paths);
  const pathInArtifact = (path: string) => {
    const level = levels.indexOf(folderAbove(path));
    return posix.join(PACKAGES_FOLDER, 'in/'.repeat(level), path.replace(OUTSIDE, ''));
  };
  const files = new Map<string, string>();
  for (const path of [...paths].sort()) {
    const place = pathInArtifact(path);
    const other = files.get(place);
    if (other !== undefined) refuseTwo(packageRoot(other) ?? other, packageRoot(path) ?? path);
    files.set(place, path);
  }
  const isModule = (path: string) => inputs[path]?.format === 'esm';
  return { roots, files, pathInArtifact, isModule };
}

/** The packages that these load, themselves included. */
function reachable(inputs: Inputs, from: readonly string[]): Set<string> {
  const loads = new Map<string, Set<string>>();
  for (const [path, { imports }] of Object.entries(inputs)) {
    const root = packageRoot(path);
    if (root === undefined) continue;
    const known = loads.get(root) ?? new Set();
    loads.set(root, known);
    for (const imported of imports) {
      const target = imported.external ? undefined : packageRoot(imported.path);
      if (target !== undefined) known.add(target);
    }
  }
  const found = new Set(from);
  for (const root of found) for (const target of loads.get(root) ?? []) found.add(target);
  return found;
}

/** Modules in the same package that a text of this file names: workers, plugins. */
function filesNamed(directory: string, path: string, text: string): string[] {
  const root = packageRoot(path) ?? '';
  const found: string[] = [];
  for (const [texts] of text.matchAll(TEXTS)) {
    const parts = texts.split(',').map((part) => part.trim().slice(1, -1));
    const named = posix.join(posix.dirname(path), ...parts);
    const isOwn = packageRoot(named) === root && !/(^|\/)\.\.?$/.test(named);
    const file = [named, `${named}.js`].find((one) => CODE.has(extname(one)) && isFile(one));
    if (isOwn && file !== undefined) found.push(file);
  }
  return found;

  function isFile(one: string): boolean {
    return existsSync(join(directory, one));
  }
}

/** Modules that this file may load without a literal `require`: named elsewhere, or its peers. */
function modulesNamed(directory: string, path: string, text: string): string[] {
  const described = JSON.parse(read(directory, `${packageRoot(path)}/package.json`) || '{}');
  const names = [...text.matchAll(REQUIRES)].map(([, , name = '']) => name);
  names.push(...Object.keys({ ...described.peerDependencies, ...described.peerDependenciesMeta }));
  const require = createRequire(join(directory, path));
  return names.flatMap((name) => {
    let file: string;
    try {
      file = require.resolve(name);
    } catch {
      return [];
    }
    const found = relative(directory, file).replaceAll('\\', '/');
    const root = packageRoot(found);
    const isUsable = isAbsolute(file) && isCode(found) && root !== undefined;
    return isUsable && !isNativePackage(directory, root) ? [found] : [];
  });
}

/** Files of a package that are not code: all of a whole package, else its licence only. */
function dataFiles(directory: string, root: string, isWhole: boolean): string[] {
  return readdirSync(join(directory, root), { recursive: isWhole, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) =>
      posix.join(
        root,
        relative(join(directory, root), join(parentPath, name)).replaceAll('\\', '/'),
      ),
    )
    .filter((path) => {
      const inside = path.slice(root.length + 1).split('/');
      const name = inside.pop() ?? '';
      if (/^licen[cs]e/i.test(name)) return inside.length === 0;
      return isWhole && !LEFT_OUT.test(name) && !inside.some((part) => LEFT_OUT_FOLDER.test(part));
    });
}

/** Folder of the package that a file belongs to; undefined for the publisher's own file. */
export function packageRoot(path: string): string | undefined {
  return /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0];
}

function isCode(path: string): boolean {
  return CODE.has(extname(path));
}

/** The folders whose `node_modules` have these files, the outermost first. */
function levelsOf(directory: string, paths: ReadonlySet<string>): string[] {
  const depthOf = (folder: string) => resolve(directory, folder).split(sep).length;
  const folders = new Set([...paths].map(folderAbove));
  return [...folders].sort((a, b) => depthOf(a) - depthOf(b) || (a < b ? -1 : 1));
}

/** pnpm links each package to others, which an artifact cannot. */
function refuseTwo(one: string, other: string): never {
  const line = `two versions of a package that stays as files, in ${one} and ${other}, install with npm or keep one`;
  throw new ArtifactError('ARTIFACT_BUNDLE', line);
}

function folderAbove(path: string): string {
  return path.slice(0, path.search(/(?<=^|\/)node_modules\//));
}

function read(directory: string, path: string): string {
  const file = join(directory, path);
  return existsSync(file) ? readFileSync(file, 'utf8') : '';
}
