// The gateway's deployments: records that survive a crash, and the live candidates that calls
// choose from.
import type { Deployment, Provider, ProviderName } from '../../adapters/provider.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { type Manifest, parseManifest } from '../../ipfs/manifest.ts';
import type { DeploymentRecord, Ledger, LedgerState } from '../ledger/ledger.ts';
import type { Candidate } from '../routing/choose.ts';
import { createCircuit } from '../routing/circuit.ts';
import { createColdStarts } from '../routing/cold-starts.ts';
import type { Executions } from '../routing/executions.ts';
import { createHedgeBudget, type HedgeBudget } from '../routing/hedge.ts';
import { createLatency } from '../routing/latency.ts';
import type { Overheads } from '../routing/overheads.ts';
import { BALANCED, type Routing, routingOf } from '../routing/routing.ts';

export interface Deployments {
  /** The manifest of a version deployed here. */
  manifest(functionVersion: Hex): Manifest | undefined;
  /** Routing declared in the version's manifest. */
  routing(functionVersion: Hex): Routing;
  /** The hedge budget of a version that requests hedged calls; otherwise undefined. */
  hedges(functionVersion: Hex): HedgeBudget | undefined;
  /** The live deployments of a version, by their id in the FunctionRegistry. */
  live(functionVersion: Hex): ReadonlyMap<number, Candidate>;
  records(functionVersion?: Hex): readonly DeploymentRecord[];
  /** Stores the record durably, then applies it. */
  putRecord(record: DeploymentRecord): Promise<void>;
  putManifest(functionVersion: Hex, manifestBytes: Uint8Array): Promise<void>;
}

interface DeploymentsOptions {
  readonly ledger: Pick<Ledger, 'putDeployment' | 'putManifest'>;
  readonly state: Pick<LedgerState, 'deployments' | 'manifests'>;
  readonly providers: ReadonlyMap<ProviderName, Provider>;
  readonly overheads: Overheads;
  readonly executions: Executions;
  /** The account that enrols deployments. */
  readonly account: Address;
  /** What a cloud is expected to bill for a call, 1e-12 USD. */
  readonly costPico: (deployment: Deployment) => bigint;
}

interface KnownManifest {
  readonly manifest: Manifest;
  readonly routing: Routing;
  readonly hedges: HedgeBudget | undefined;
}

const NONE_LIVE: ReadonlyMap<number, Candidate> = new Map();

export function createDeployments(options: DeploymentsOptions): Deployments {
  const records = new Map<string, DeploymentRecord>();
  const manifests = new Map<Hex, KnownManifest>();
  const candidates = new Map<Hex, Map<number, Candidate>>();

  const enforce = (record: DeploymentRecord): void => {
    const ofVersion = candidates.get(record.functionVersion) ?? new Map<number, Candidate>();
    candidates.set(record.functionVersion, ofVersion);
    const before = records.get(keyOf(record));
    records.set(keyOf(record), record);
    if (before?.chainId !== undefined && before.chainId !== record.chainId) {
      ofVersion.delete(before.chainId);
    }
    if (record.chainId === undefined) return;
    const provider = options.providers.get(record.provider);
    const isUp = record.state === 'live' || record.state === 'updating';
    if (!isUp || record.deployment === undefined || provider === undefined) {
      ofVersion.delete(record.chainId);
      return;
    }
    // Keep the candidate's state (load, circuit, latency) while its deployment is unchanged.
    const candidate = ofVersion.get(record.chainId);
    if (candidate && JSON.stringify(candidate.deployment) === JSON.stringify(record.deployment))
      return;
    ofVersion.set(record.chainId, {
      id: record.chainId,
      account: options.account,
      provider,
      deployment: record.deployment,
      costPico: options.costPico(record.deployment),
      inFlight: 0,
      peakInFlight: 0,
      circuit: createCircuit(),
      latency: createLatency(),
      overhead: options.overheads.of(record.provider, record.region),
      coldStarts: createColdStarts(),
      executions: options.executions.of(provider, record.deployment, record.functionVersion),
    });
  };
  const keepManifest = (functionVersion: Hex, bytes: Uint8Array): void => {
    const manifest = parseManifest(bytes);
    const hedges = manifest.routing?.hedge ? createHedgeBudget() : undefined;
    manifests.set(functionVersion, { manifest, routing: routingOf(manifest), hedges });
  };
  for (const record of options.state.deployments) enforce(record);
  for (const { functionVersion, manifest } of options.state.manifests) {
    keepManifest(functionVersion, Buffer.from(manifest, 'utf8'));
  }

  return {
    manifest: (functionVersion) => manifests.get(functionVersion)?.manifest,
    hedges: (functionVersion) => manifests.get(functionVersion)?.hedges,
    routing: (functionVersion) => manifests.get(functionVersion)?.routing ?? BALANCED,
    live: (functionVersion) => candidates.get(functionVersion) ?? NONE_LIVE,
    records: (functionVersion) =>
      [...records.values()].filter(
        (record) => functionVersion === undefined || record.functionVersion === functionVersion,
      ),
    putRecord: async (record) => {
      await options.ledger.putDeployment(record);
      enforce(record);
    },
    putManifest: async (functionVersion, manifestBytes) => {
      await options.ledger.putManifest(
        functionVersion,
        Buffer.from(manifestBytes).toString('utf8'),
      );
      keepManifest(functionVersion, manifestBytes);
    },
  };
}

function keyOf(record: DeploymentRecord): string {
  return `${record.provider} ${record.region} ${record.name}`;
}
