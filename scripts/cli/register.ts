// `defaas register <folder>`: bundles a folder, uploads it to IPFS, and publishes function and
// version on the chain. `latest` names the version at once, though it runs nowhere yet: `deploy`
// moves it after the version runs.
import type { BundleOptions } from '../../ipfs/bundle.ts';
import { openChain } from './chain.ts';
import { type Flags, type Outcome, openGateway } from './context.ts';
import { runSteps } from './progress.ts';
import { bundleFolder, preparePublishing } from './publish.ts';

/**
 * Publishes a new version, unless one with the same content may still be served.
 * @throws ArtifactError NOT_A_FUNCTION_FOLDER, ARTIFACT_...; ChainError NAME_TAKEN, NOT_OWNER,
 *   CHAIN_...; DefaasClientError of the upload
 */
export async function register(
  flags: Flags,
  folder: string,
  options: BundleOptions = {},
): Promise<Outcome> {
  const bundled = await bundleFolder(flags, folder, options);
  const opened = await openGateway(flags);
  const chain = await openChain(opened);
  try {
    const publishing = await preparePublishing({ flags, opened, chain }, bundled, {
      asLatest: true,
    });
    await runSteps(flags, publishing.steps);
    const { fn, version, isNew } = publishing.published();
    const document = {
      name: fn.name,
      owner: opened.account.address,
      version: version.number,
      isNew,
      functionVersion: version.functionVersion,
      cid: version.artifactCid,
      files: publishing.files,
      manifestCid: version.manifestCid,
    };
    const what = isNew ? 'is published' : 'was published already';
    return {
      document,
      text: `${fn.name}@${version.number} ${what}, ${version.artifactCid}; next: defaas deploy ${fn.name}`,
    };
  } finally {
    chain.close();
    opened.close();
  }
}
