// Publishing a bundled folder as a version: upload to IPFS, register the name, publish on the
// chain.
import { uploadArtifact } from '../../broker/client/artifacts.ts';
import { DefaasClientError } from '../../broker/client/errors.ts';
import type { FunctionVersion, RegisteredFunction } from '../../contracts/chain/types.ts';
import type { VersionTerms } from '../../contracts/chain/writer.ts';
import type { Chain } from '../../contracts/chain.ts';
import { type Bundle, type BundleOptions, bundle } from '../../ipfs/bundle.ts';
import { filesToCar, rawCid } from '../../ipfs/car.ts';
import type { Manifest } from '../../ipfs/manifest.ts';
import { type Flags, note, type Opened, openSession } from './context.ts';
import { userPath } from './house.ts';
import { refuseUnloadable } from './load-check.ts';
import type { Step } from './progress.ts';

/** Most files that are listed before an upload. */
const MAX_LISTED = 20;

const ACCESS_MODES = { public: 0, granted: 1, policy: 2 } as const;

export interface Published {
  readonly fn: RegisteredFunction;
  readonly version: FunctionVersion;
  /** False if the same folder was published before. */
  readonly isNew: boolean;
}

export interface PublishedFile {
  readonly path: string;
  readonly bytes: number;
}

/**
 * Bundles a folder and loads the bundle once. Contacts no house: an error in the folder can be
 * mended without one.
 * @throws ArtifactError NOT_A_FUNCTION_FOLDER, ARTIFACT_...
 */
export async function bundleFolder(
  flags: Pick<Flags, 'json'>,
  folder: string,
  options: BundleOptions,
): Promise<Bundle> {
  const bundled = await bundle(userPath(folder), options);
  await refuseUnloadable(flags, bundled);
  return bundled;
}

/** The steps that publish a version, and what they have published. */
export interface Publishing {
  readonly steps: readonly Step[];
  /** What anybody can read on IPFS, in the artifact's order. */
  readonly files: readonly PublishedFile[];
  /** To be called after the steps. */
  published(): Published;
}

export interface PublishingParts {
  readonly flags: Pick<Flags, 'json'>;
  readonly opened: Opened;
  readonly chain: Chain;
}

/**
 * Publishes a new version, unless one with the same content may still be served. The alias `latest`
 * moves in the same transaction with `asLatest`. After a failure a second run continues where the
 * first stopped.
 */
export async function preparePublishing(
  { flags, opened, chain }: PublishingParts,
  { manifest, manifestBytes, files }: Bundle,
  { asLatest }: { readonly asLatest: boolean },
): Promise<Publishing> {
  const { account } = opened;
  const writer = chain.connect(account);
  const { cid, car } = await filesToCar(files);
  const terms = termsOf(manifest, cid, await rawCid(manifestBytes));
  const find = () => chain.view.functionOf(account.address, manifest.name);
  const before = find();
  if (!before || !findSame(chain, before, terms)) note(flags, publicLines(manifest, files));
  let isNew = false;
  const upload = async (): Promise<void> => {
    const session = await openSession(opened, account);
    const stored = await uploadArtifact(session, new Uint8Array(car));
    if (stored === cid) return;
    throw new DefaasClientError(
      'ARTIFACT_CORRUPT',
      `the gateway stored ${stored} for ${cid}, use another`,
    );
  };
  const publish = async (report: (line: string) => void): Promise<void> => {
    // Another command may have published while this one waited for its turn.
    await chain.synced();
    if (!find()) {
      const { blockNumber } = await writer.register(manifest.name);
      await chain.synced(blockNumber);
    }
    const fn = find();
    if (!fn) throw new Error(`${manifest.name} is registered and not in the logs`);
    const same = findSame(chain, fn, terms);
    if (same === undefined) {
      const { blockNumber } = await writer.publish(fn.id, terms, asLatest);
      await chain.synced(blockNumber);
      isNew = true;
    } else if (asLatest && fn.latest !== same.number) {
      await chain.synced(await writer.moveAlias(fn.id, 'latest', same.number));
    } else report('nothing has changed');
  };
  return {
    files: filesOf(files),
    steps: [
      {
        title: `bundled ${manifest.name}: ${files.size} files, ${car.length} bytes`,
        run: async () => {},
      },
      { title: `uploading ${cid}`, run: upload },
      {
        title: 'registering on the chain',
        run: (report) => chain.exclusively(account.address, () => publish(report)),
      },
    ],
    published: () => {
      const fn = find();
      const version = fn && findSame(chain, fn, terms);
      if (!version) throw new Error(`${manifest.name} is published and not in the logs`);
      return { fn, version, isNew };
    },
  };
}

function filesOf(files: Bundle['files']): PublishedFile[] {
  return [...files].map(([path, { length }]) => ({ path, bytes: length }));
}

/** What becomes public, said before anything is uploaded. */
function publicLines({ name, env }: Manifest, files: Bundle['files']): string {
  const listed = filesOf(files);
  const shown = listed.slice(0, MAX_LISTED);
  const width = Math.max(...shown.map(({ bytes }) => `${bytes}`.length));
  const rows = shown.map(({ path, bytes }) => `  ${`${bytes}`.padStart(width)} bytes  ${path}`);
  const left = listed.length - shown.length;
  const variables = Object.keys(env);
  return [
    `what ${name} consists of becomes public on IPFS; anybody can read and keep it:`,
    ...rows,
    ...(left > 0 ? [`  and ${left} more files`] : []),
    ...(variables.length > 0
      ? [`  public too, in defaas.json: the values of env (${variables.join(', ')})`]
      : []),
    '  private: only the values of secrets',
  ].join('\n');
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

/**
 * The newest version with this content that may be served. The manifest contains all other terms,
 * so comparing the two CIDs is enough.
 */
export function findSame(
  { view }: Pick<Chain, 'view'>,
  fn: RegisteredFunction,
  { manifestCid, artifactCid }: Pick<VersionTerms, 'manifestCid' | 'artifactCid'>,
): FunctionVersion | undefined {
  return fn.versions
    .map((functionVersion) => view.versionByHash(functionVersion))
    .findLast(
      (version) =>
        version?.deprecated === false &&
        version.manifestCid === manifestCid &&
        version.artifactCid === artifactCid,
    );
}
