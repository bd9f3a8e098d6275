// Before a version is published: its bundle is loaded once in the sandbox of the local provider, as
// a first call would load it. Nothing is called.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Loaded, type LoadOptions, loadArtifact } from '../../adapters/local/load-check.ts';
import type { FunctionFailure } from '../../adapters/provider.ts';
import { ArtifactError } from '../../ipfs/artifact-error.ts';
import type { Bundle } from '../../ipfs/bundle.ts';
import type { Manifest } from '../../ipfs/manifest.ts';
import { type Flags, note } from './context.ts';
import { createSourceLines } from './source-lines.ts';

/** Code of what the sandbox refuses: network, processes, files outside of the artifact. */
const OUTSIDE = 'ERR_ACCESS_DENIED';

/**
 * A version that may not run on `local` may need at its load what the sandbox refuses: that is only
 * noted.
 * @throws ArtifactError ARTIFACT_LOAD   the module throws, ends its process or does not end
 * @throws ArtifactError ARTIFACT_ENTRY  its default export is no handler
 */
export async function refuseUnloadable(
  flags: Pick<Flags, 'json'>,
  { manifest, files }: Bundle,
  maxLoadMs?: number,
): Promise<void> {
  const { env, missing } = environmentOf(manifest);
  const options = { memoryMiB: manifest.memoryMiB, env, ...(maxLoadMs && { maxLoadMs }) };
  const { failure, lines } = await load(files, options);
  if (failure === undefined) return;
  const toSource = createSourceLines(files.get('handler.mjs.map'));
  const place = placeIn(lines.map(toSource));
  const what = `${failure.type}: ${failure.message}`;
  if (failure.type === 'NoHandler') {
    const remedy = 'export default a function or an app with fetch';
    throw new ArtifactError('ARTIFACT_ENTRY', `${failure.message}, on ${manifest.name}, ${remedy}`);
  }
  const { providers } = manifest;
  const isOutside = lines.some((line) => line.includes(OUTSIDE));
  const isForLocal = providers.length === 0 || providers.includes('local');
  if (isOutside && !isForLocal) {
    note(flags, `the handler was not loaded here (${what}, on ${place}): no such access on local`);
    return;
  }
  const remedy = isOutside
    ? 'on local it has no network and no files but its own: do that in the handler, or name other providers'
    : `correct it${missing.length > 0 ? `, or set ${missing.join(', ')} for this command` : ''}`;
  throw new ArtifactError(
    'ARTIFACT_LOAD',
    `the handler does not load: ${what}, on ${place}, ${remedy}`,
  );
}

async function load(files: Bundle['files'], options: Omit<LoadOptions, 'dir'>): Promise<Loaded> {
  const dir = await mkdtemp(join(tmpdir(), 'defaas-load-'));
  try {
    return await loadArtifact(files, { dir, ...options });
  } catch (cause) {
    const failure: FunctionFailure = {
      kind: 'init',
      type: 'NotStarted',
      message: cause instanceof Error ? cause.message : String(cause),
    };
    return { failure, lines: [] };
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/**
 * The version's environment. Its secrets are in the gateway's store: they come from this command's
 * environment, or have a value that is a text and a URL.
 */
function environmentOf({ name, env, secrets }: Manifest) {
  const missing = secrets.filter((secret) => process.env[secret] === undefined);
  const values = secrets.map((secret) => [
    secret,
    process.env[secret] ?? `https://${name}.invalid/`,
  ]);
  const all = { ...env, ...Object.fromEntries(values) };
  return { env: all, missing };
}

/** The first line of the publisher's own files in a stack, else the first of a package. */
function placeIn(lines: readonly string[]): string {
  const places = lines.flatMap((line) => /^\s+at .*?([^\s(]+:\d+):\d+\)?$/.exec(line)?.[1] ?? []);
  const sources = places.filter((place) => !/^(node:|file:|\/)/.test(place));
  return sources.find((place) => !place.includes('node_modules/')) ?? sources[0] ?? 'its entry';
}
