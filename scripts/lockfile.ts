// Finds, without a network, entries in package-lock.json on which `npm ci` would fail. `check` runs
// it.

interface Lock {
  readonly packages: Readonly<
    Record<
      string,
      {
        readonly version?: string;
        readonly optionalDependencies?: Readonly<Record<string, string>>;
        readonly inBundle?: boolean;
      }
    >
  >;
}

/**
 * Optional dependencies without an entry of their own, as `package needs name`. `npm install` omits
 * them silently if the registry has no build for a platform, and `npm ci` then refuses ("Missing
 * ... from lock file").
 */
export function findMissingOptional(lock: Lock): string[] {
  const missing: string[] = [];
  for (const [path, { optionalDependencies, inBundle }] of Object.entries(lock.packages)) {
    if (inBundle) continue;
    for (const name of Object.keys(optionalDependencies ?? {})) {
      if (!resolves(lock, path, name)) missing.push(`${name}, needed by ${path || 'the root'}`);
    }
  }
  return missing;
}

/** Node's module lookup: the nearest `node_modules` upward from the dependent that has the name. */
function resolves(lock: Lock, from: string, name: string): boolean {
  for (
    let folder = from;
    ;
    folder = folder.slice(0, Math.max(0, folder.lastIndexOf('node_modules/') - 1))
  ) {
    const path = folder === '' ? `node_modules/${name}` : `${folder}/node_modules/${name}`;
    if (lock.packages[path] !== undefined) return true;
    if (folder === '') return false;
  }
}

/**
 * Lines that name a registry's host: the lockfile must install from whichever registry the user has
 * set.
 */
export function findRegistryAddresses(lockText: string): string[] {
  return lockText.split('\n').filter((line) => /"resolved":\s*"[a-z+]+:\/\//.test(line));
}
