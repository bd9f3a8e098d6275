// `defaas register <folder>`: bundles a folder, uploads it to IPFS, and publishes function and
// version on the chain.
import { uploadArtifact } from '../../broker/client/artifacts.ts';
import { DefaasClientError } from '../../broker/client/errors.ts';
import type { FunctionVersion } from '../../contracts/chain/types.ts';
import type { VersionTerms } from '../../contracts/chain/writer.ts';
import type { Chain } from '../../contracts/chain.ts';
import { type Bundle, bundle } from '../../ipfs/bundle.ts';
import { filesToCar, rawCid } from '../../ipfs/car.ts';
import type { Manifest } from '../../ipfs/manifest.ts';
import { openChain } from './chain.ts';
import { type Flags, type Opened, type Outcome, openGateway, openSession } from './context.ts';
import { userPath } from './house.ts';
import { refuseUnloadable } from './load-check.ts';
import { runSteps } from './progress.ts';

const ACCESS_MODES = { public: 0, granted: 1, policy: 2 } as const;

/**
 * Publishes a new version, unless the newest one is the same. After a failure a second run
 * continues where the first stopped.
 * @throws ArtifactError NOT_A_FUNCTION_FOLDER, ARTIFACT_...; ChainError NAME_TAKEN, NOT_OWNER,
 *   CHAIN_...; DefaasClientError of the upload
 */
export async function register(flags: Flags, folder: string): Promise<Outcome> {
  // Bundle before contacting a house: an error in the folder can be fixed without one.
  const bundled = await bundle(userPath(folder));
  await refuseUnloadable(flags, bundled);
  const opened = await openGateway(flags);
  const chain = await openChain(opened);
  try {
    return await publish(flags, opened, chain, bundled);
  } finally {
    chain.close();
    opened.close();
  }
}

async function publish(
  flags: Flags,
  opened: Opened,
  chain: Chain,
  { manifest, manifestBytes, files }: Bundle,
): Promise<Outcome> {
  const { account } = opened;
  const writer = chain.connect(account);
  const { cid, car } = await filesToCar(files);
  const terms = termsOf(manifest, cid, await rawCid(manifestBytes));
  const find = () => chain.view.functionOf(account.address, manifest.name);
  const newest = () => {
    const fn = find();
    return fn && chain.view.versionOf(fn);
  };
  let isNew = false;
  await runSteps(flags, [
    {
      title: `bundled ${manifest.name}: ${files.size} files, ${car.length} bytes`,
      run: async () => {},
    },
    {
      title: `uploading ${cid}`,
      run: async () => {
        const session = await openSession(opened, account);
        const stored = await uploadArtifact(session, new Uint8Array(car));
        if (stored === cid) return;
        throw new DefaasClientError(
          'ARTIFACT_CORRUPT',
          `the gateway stored ${stored} for ${cid}, use another`,
        );
      },
    },
    {
      title: 'registering on the chain',
      run: async (report) => {
        if (!find()) {
          const { blockNumber } = await writer.register(manifest.name);
          await chain.synced(blockNumber);
        }
        const fn = find();
        if (!fn) throw new Error(`${manifest.name} is registered and not in the logs`);
        const before = newest();
        if (before && isSame(before, terms)) return report('nothing has changed');
        const { blockNumber } = await writer.publish(fn.id, terms, true);
        await chain.synced(blockNumber);
        isNew = true;
      },
    },
  ]);
  const version = newest();
  if (!version) throw new Error(`${manifest.name} is published and not in the logs`);
  const document = {
    name: manifest.name,
    owner: account.address,
    version: version.number,
    isNew,
    functionVersion: version.functionVersion,
    cid: version.artifactCid,
    manifestCid: version.manifestCid,
  };
  const what = isNew ? 'is published' : 'was published already';
  return {
    document,
    text: `${manifest.name}@${version.number} ${what}, ${version.artifactCid}; next: defaas deploy ${manifest.name}`,
  };
}

function termsOf(manifest: Manifest, artifactCid: string, manifestCid: string): VersionTerms {
  return {
    manifestCid,
    artifactCid,
    tariff: manifest.tariff,
    accessMode: ACCESS_MODES[manifest.access],
    memoryMiB: manifest.memoryMiB,
    timeoutMs: manifest.timeoutMs,
    idempotent: manifest.idempotent,
    deterministic: manifest.deterministic,
  };
}

/** The manifest contains all other terms, so comparing the two CIDs is enough. */
function isSame(version: FunctionVersion, terms: VersionTerms): boolean {
  return (
    !version.deprecated &&
    version.manifestCid === terms.manifestCid &&
    version.artifactCid === terms.artifactCid
  );
}
