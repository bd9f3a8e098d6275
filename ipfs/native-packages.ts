// What an npm package's description says: whether it needs a compiled addon or program, and which
// other packages it can be without. The same artifact runs on every cloud, and the sandbox of
// `local` loads no addon.
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ArtifactError } from './artifact-error.ts';

/** Packages that load a compiled addon at run time, which no bundler can follow. */
const ADDON_LOADERS = new Set([
  'bindings',
  'node-gyp-build',
  'node-gyp-build-optional-packages',
  'node-pre-gyp',
  '@mapbox/node-pre-gyp',
  'prebuild-install',
]);

/** A build for one platform, as in `@img/sharp-linux-x64`. */
const PLATFORM_BUILD = /(?:^|[/-])(?:linux|darwin|win32)(?:-\w+)*-(?:x64|arm64)\b/;

interface DescribedPackage {
  readonly gypfile?: boolean;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>;
}

/** @param root  the package's folder, relative to `directory` */
export function isNativePackage(directory: string, root: string): boolean {
  const described = describePackage(directory, root);
  return (
    ADDON_LOADERS.has(nameOf(root)) ||
    described.gypfile === true ||
    'binary' in described ||
    'napi' in described ||
    existsSync(join(directory, root, 'binding.gyp')) ||
    Object.keys(described.optionalDependencies ?? {}).some((name) => PLATFORM_BUILD.test(name))
  );
}

/** How the package in `root` declares that it depends on another. */
export function dependencyOn(
  directory: string,
  root: string,
  name: string,
): 'needed' | 'optional' | 'none' {
  const { dependencies, devDependencies, optionalDependencies, ...peers } = describePackage(
    directory,
    root,
  );
  if (name in { ...optionalDependencies }) return 'optional';
  if (peers.peerDependenciesMeta?.[name]?.optional === true) return 'optional';
  const isNeeded = name in { ...dependencies, ...peers.peerDependencies };
  return isNeeded || (root === '.' && name in { ...devDependencies }) ? 'needed' : 'none';
}

/** Whether Node's lookup from a file finds any package of that name. */
export function isInstalled(file: string, name: string): boolean {
  const above = dirname(file);
  if (existsSync(join(above, 'node_modules', name))) return true;
  return above !== file && isInstalled(above, name);
}

export function refuseNative(what: string, where: string, cause?: unknown): ArtifactError {
  const remedy = 'use a library in JavaScript or WASM';
  const line = `native addon ${what} cannot run on every cloud, on ${where}, ${remedy}`;
  return new ArtifactError('ARTIFACT_NATIVE_ADDON', line, cause);
}

/** Name of the package in a folder, or of that which an import names. */
export function nameOf(rootOrImport: string): string {
  const path = rootOrImport.split('node_modules/').at(-1) ?? rootOrImport;
  return path.split('/', path.startsWith('@') ? 2 : 1).join('/');
}

function describePackage(directory: string, root: string): DescribedPackage {
  const file = join(directory, root, 'package.json');
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
}
