// The command line's names of clouds, and the clouds that a version runs on if none are named.
import { fetchBlock } from '../../broker/client/artifacts.ts';
import { fetchDeployments } from '../../broker/client/deployments.ts';
import type { Session } from '../../broker/client/session.ts';
import { rawCid } from '../../ipfs/car.ts';
import { type Manifest, parseManifest } from '../../ipfs/manifest.ts';
import { openChain } from './chain.ts';
import { CliError } from './cli-error.ts';
import type { Opened } from './context.ts';
import type { FunctionName } from './function-name.ts';

/** Short names that the command line takes. */
const CLOUDS: Readonly<Record<string, string>> = {
  aws: 'aws-lambda',
  google: 'google-cloud-functions',
  azure: 'azure-functions',
  local: 'local',
};

/** Parses a comma-separated list of clouds. @throws CliError USAGE */
export function parseClouds(text: string, option = '--to'): string[] {
  const providers = text.split(',').map((word) => {
    const known = CLOUDS[word.trim()] ?? word.trim();
    if (Object.values(CLOUDS).includes(known)) return known;
    throw new CliError(
      'USAGE',
      `no cloud "${word.trim()}", on ${option} ${text}, use ${Object.keys(CLOUDS).join(', ')}`,
    );
  });
  return [...new Set(providers)];
}

/**
 * The clouds where a version is live at the gateway in use; undefined if there is none.
 */
export async function cloudsHad(
  session: Session,
  { owner, name, version }: { owner: string; name: string; version: number | undefined },
): Promise<readonly string[] | undefined> {
  if (version === undefined) return undefined;
  const had = (await fetchDeployments(session, { owner, name }))
    .filter((one) => one.version === version && /^(live|updating)$/.test(one.state))
    .map(({ provider }) => provider);
  return had.length > 0 ? [...new Set(had)] : undefined;
}

/**
 * The clouds that the version's manifest names, or all of the gateway's if it names none.
 * @throws as `manifestOf`
 */
export async function cloudsOf(opened: Opened, name: FunctionName): Promise<readonly string[]> {
  const { providers } = await manifestOf(opened, name);
  return providers.length > 0 ? providers : opened.connection.document.providers;
}

/**
 * The version's manifest, checked against the CID on the chain.
 * @throws CliError FUNCTION_UNKNOWN, ARTIFACT_CORRUPT
 */
export async function manifestOf(
  opened: Opened,
  { owner, name, reference }: FunctionName,
): Promise<Manifest> {
  const chain = await openChain(opened);
  try {
    const namespace = chain.view.resolveNamespace(owner);
    const fn = namespace && chain.view.functionOf(namespace, name);
    const version = fn && chain.view.versionOf(fn, reference);
    if (!version) {
      throw new CliError(
        'FUNCTION_UNKNOWN',
        `no function ${owner}/${name}@${reference}, on the chain, see defaas list`,
      );
    }
    const bytes = await fetchBlock(opened.connection, version.manifestCid);
    if ((await rawCid(bytes)) !== version.manifestCid) {
      throw new CliError(
        'ARTIFACT_CORRUPT',
        `the gateway's manifest is not ${version.manifestCid}, register it again`,
      );
    }
    return parseManifest(bytes);
  } finally {
    chain.close();
  }
}
