// What the publisher's own sources find by a path: in the artifact all of them are one file, at its
// top, and only the listed files are there.
import { readFileSync, statSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { extname, join, posix } from 'node:path';
import type { Loader, Metafile } from 'esbuild';
import { ArtifactError } from './artifact-error.ts';
import { packageRoot } from './packages.ts';

const CODE = /\.[cm]?[jt]sx?$/;
const TEXT = `(['"\`])([\\w@ ./-]+)\\1`;
const HERE = '(?:import\\.meta\\.dirname|__dirname)';

/** Each has the path in group 2 and, where there are more parts, the others in group 3. */
const BESIDE_THE_SOURCE = [
  `new\\s+URL\\(\\s*${TEXT}\\s*,\\s*import\\.meta\\.url`,
  `${HERE}\\s*,\\s*${TEXT}((?:\\s*,\\s*(['"\`])[\\w@ ./-]+\\4)*)`,
  `${HERE}\\s*\\+\\s*${TEXT}`,
  `\\$\\{${HERE}\\}()(/[\\w@./-]+)`,
].map((pattern) => new RegExp(pattern, 'g'));
const IN_THE_FOLDER = new RegExp(
  `\\b(?:readFile|readFileSync|createReadStream|openAsBlob|readdir|readdirSync)\\(\\s*${TEXT}`,
  'g',
);
const REQUIRE = /\brequire\(\s*(['"`])([^'"`$]+)\1\s*\)/g;

const PLACE = /\bimport\.meta\.(url|dirname|filename)\b/g;
const COMMONJS_PLACE = /(?<![\w$.])__(dirname|filename)\b/g;
/** Namespace of the modules that tell a source file its place in the artifact. */
export const PLACES = 'defaas-place';

/**
 * Refuses a file that a source reads and the manifest does not list, and a package that it loads
 * with `createRequire`: neither would be in the artifact.
 * @throws ArtifactError ARTIFACT_BUNDLE  with the line
 */
export function refuseFilesLeftOut(
  directory: string,
  inputs: Metafile['inputs'],
  listed: readonly string[],
): void {
  for (const path of Object.keys(inputs)) {
    const isOurs = path.startsWith(`${PLACES}:`);
    if (isOurs || !CODE.test(path) || packageRoot(path) !== undefined) continue;
    const text = readFileSync(join(directory, path), 'utf8');
    const refuse = (at: number, what: string, remedy: string) => {
      const line = text.slice(0, at).split('\n').length;
      throw new ArtifactError('ARTIFACT_BUNDLE', `${what}, on ${path}:${line}, ${remedy}`);
    };
    for (const { at, named } of namedFiles(path, text)) {
      const kind = kindOf(join(directory, named));
      const isOutside = named.startsWith('../');
      if (kind === undefined || (kind === 'folder' && (isOutside || named === '.'))) continue;
      const isListed = listed.some((file) => file === named || file.startsWith(`${named}/`));
      if (isListed) continue;
      const remedy = isOutside ? 'copy it into the folder and name it' : `name ${theFiles(kind)}`;
      refuse(
        at,
        `reads ${named}, which is not in the artifact`,
        `${remedy} in files of defaas.json`,
      );
    }
    if (!/\bcreateRequire\b/.test(text)) continue;
    for (const { index, 2: name = '' } of text.matchAll(REQUIRE)) {
      if (isBuiltin(name)) continue;
      refuse(index, `createRequire loads ${name}, which is not in the artifact`, 'import it');
    }
  }
}

/** Paths that a source reads, from the folder, each with its position in the text. */
function* namedFiles(path: string, text: string): Generator<{ at: number; named: string }> {
  for (const pattern of BESIDE_THE_SOURCE) {
    for (const { index, 2: first = '', 3: more = '' } of text.matchAll(pattern)) {
      const parts = more.split(',').map((part) => part.trim().slice(1, -1));
      yield { at: index, named: posix.join(posix.dirname(path), first, ...parts) };
    }
  }
  for (const { index, 2: named = '' } of text.matchAll(IN_THE_FOLDER)) {
    if (!named.startsWith('/')) yield { at: index, named: posix.normalize(named) };
  }
}

/**
 * A source below the folder's top with its own place in the artifact, as Node tells it; undefined
 * where nothing is to change.
 */
export function sourceInItsPlace(
  directory: string,
  path: string,
): { contents: string; loader: Loader } | undefined {
  if (!path.includes('/') || path.startsWith('../') || packageRoot(path)) return undefined;
  const text = readFileSync(join(directory, path), 'utf8');
  const loader = extname(path).replace(/^\.[cm]?/, '');
  if (loader !== 'js' && loader !== 'jsx' && loader !== 'ts' && loader !== 'tsx') return undefined;
  const from = JSON.stringify(`${PLACES}:${path}`);
  if (text.search(PLACE) >= 0) {
    const contents = `${text.replace(PLACE, 'defaasPlace.$1')}\nimport * as defaasPlace from ${from};`;
    return { contents, loader };
  }
  const isDeclared = /\b(?:const|let|var)\s+__(?:dir|file)name\b/.test(text);
  if (isDeclared || text.search(COMMONJS_PLACE) < 0) return undefined;
  const contents = text.replace(COMMONJS_PLACE, 'defaasPlace.$1');
  return { contents: `const defaasPlace = require(${from});${contents}`, loader };
}

export function placeModule(path: string): string {
  const file = JSON.stringify(`/${path}`);
  return `export const url = new URL(${JSON.stringify(path)}, import.meta.url).href;
export const dirname = import.meta.dirname + ${JSON.stringify(`/${posix.dirname(path)}`)};
export const filename = import.meta.dirname + ${file};`;
}

function kindOf(path: string): 'file' | 'folder' | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.isDirectory()) return 'folder';
  return found?.isFile() ? 'file' : undefined;
}

function theFiles(kind: 'file' | 'folder'): string {
  return kind === 'file' ? 'it' : 'its files';
}
