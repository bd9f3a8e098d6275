// What the gateways of one process share, whichever contract sets they serve: the clouds and the
// functions deployed there, the IPFS node, limits per peer and publisher. Created with the first
// gateway and reused by the second.
import type { Logger } from 'pino';
import type { Provider, ProviderName } from '../adapters/provider.ts';
import { createProviders } from '../adapters/providers.ts';
import type { Address } from '../contracts/libraries/keccak.ts';
import { type ArtifactStore, createArtifactStore } from '../ipfs/artifact-store.ts';
import { createIpfsNode, type IpfsNode } from '../ipfs/node.ts';
import type { Alarms } from './alarms.ts';
import type { Config } from './config.ts';
import { type Claims, createClaims } from './deployments/claims.ts';
import { expectedCostPico } from './deployments/costs.ts';
import { createDeployments, type Deployments } from './deployments/deployments.ts';
import { createJobs, type Jobs } from './deployments/jobs.ts';
import { createSecrets, type Secrets } from './deployments/secrets.ts';
import { DefaasError } from './errors.ts';
import { createKeyGuard, type KeyGuard } from './identity/key-guard.ts';
import type { OperatorKey } from './identity/operator-key.ts';
import { houseFolder } from './ledger/folders.ts';
import type { Ledger, LedgerState } from './ledger/ledger.ts';
import { createFreeFailures, type FreeFailures } from './money/free-failures.ts';
import { createLimits, type Limits } from './money/limits.ts';
import { createStoppedPublishers, type StoppedPublishers } from './money/stopped-publishers.ts';
import { createExecutions, type Executions } from './routing/executions.ts';
import { createOverheads, type Overheads } from './routing/overheads.ts';

export interface House {
  /** Holds the functions and their secrets; often also the ledger of the first set. */
  readonly houseLedger: Ledger;
  readonly ipfs: IpfsNode;
  readonly artifacts: ArtifactStore;
  readonly providers: ReadonlyMap<ProviderName, Provider>;
  /** @throws DefaasError PROVIDER_UNKNOWN */
  provider(name: ProviderName): Provider;
  readonly providerNames: readonly ProviderName[];
  readonly deployments: Deployments;
  readonly overheads: Overheads;
  readonly executions: Executions;
  readonly claims: Claims;
  readonly jobs: Jobs;
  readonly secrets: Secrets;
  readonly limits: Limits;
  readonly freeFailures: FreeFailures;
  /**
   * Publishers stopped because a cloud counted more execution of their functions than was billed.
   */
  readonly stoppedPublishers: StoppedPublishers;
  /** Detects use of the operator key by somebody else. */
  readonly keyGuard: KeyGuard;
}

interface HouseOptions {
  readonly config: Config;
  readonly log: Logger;
  readonly nowMs: () => number;
  /** The gateway's account on the chain. */
  readonly address: Address;
  readonly signer: OperatorKey;
  readonly alarms: Alarms;
  readonly ledger: Ledger;
  readonly state: LedgerState;
}

export async function createHouse(options: HouseOptions): Promise<House> {
  const { config, log, nowMs, address, signer, alarms, ledger, state } = options;
  const folder = houseFolder(config);
  const ipfs = await createIpfsNode({ dir: `${config.home}/ipfs` });
  const providers = createProviders(config.clouds, address, (message, fields) =>
    log.info(fields, message),
  );
  const overheads = createOverheads();
  const executions = createExecutions();
  return {
    houseLedger: ledger,
    ipfs,
    artifacts: createArtifactStore(ipfs),
    providers,
    providerNames: [...providers.keys()],
    provider: (name) => {
      const provider = providers.get(name);
      if (provider !== undefined) return provider;
      throw new DefaasError(
        'PROVIDER_UNKNOWN',
        `${name} is not configured at this gateway, use ${[...providers.keys()].join(', ')}`,
      );
    },
    deployments: createDeployments({
      ...{ ledger, state, providers, overheads, executions },
      account: address,
      costPico: (deployment) => expectedCostPico(config.clouds, deployment),
    }),
    overheads,
    executions,
    claims: createClaims(),
    jobs: createJobs(),
    secrets: createSecrets({ ledger, keyFile: `${folder}/secrets-key`, nowMs }),
    limits: createLimits({ ...config, nowMs }),
    freeFailures: createFreeFailures({ leastMs: config.freeFailureMsPerHour, nowMs }),
    stoppedPublishers: createStoppedPublishers({
      file: `${folder}/stopped-publishers.json`,
      stopMs: config.meteringStopSec * 1000,
      ...{ alarms, nowMs },
    }),
    keyGuard: createKeyGuard({ file: `${folder}/stolen-keys.json`, signer, alarms }),
  };
}

/** To be called after the last gateway has stopped its work. */
export async function closeHouse({ providers, ipfs }: House): Promise<void> {
  for (const provider of providers.values()) await provider.close();
  await ipfs.close();
}
