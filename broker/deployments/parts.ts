// The parts of the gateway that deployments use.
import type { Logger } from 'pino';
import type { Provider, ProviderName } from '../../adapters/provider.ts';
import type { ChainWriter } from '../../contracts/chain/writer.ts';
import type { Chain } from '../../contracts/chain.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import type { ArtifactStore } from '../../ipfs/artifact-store.ts';
import type { Config } from '../config.ts';
import type { StoppedPublishers } from '../money/stopped-publishers.ts';
import type { Beacon } from '../routing/beacon.ts';
import type { Executions } from '../routing/executions.ts';
import type { Overheads } from '../routing/overheads.ts';
import type { Claims } from './claims.ts';
import type { Deployments } from './deployments.ts';
import type { Jobs } from './jobs.ts';
import type { Secrets } from './secrets.ts';

export interface DeploymentParts {
  /** The gateway's account on the chain. */
  readonly address: Address;
  /**
   * Sends transactions from the gateway's account, which is also the provider account of its
   * deployments.
   */
  readonly account: ChainWriter;
  readonly artifacts: ArtifactStore;
  readonly beacon: Beacon;
  readonly chain: Chain;
  readonly claims: Claims;
  /** Aborted when the gateway closes. */
  readonly closing: AbortSignal;
  readonly config: Config;
  readonly deployments: Deployments;
  readonly jobs: Jobs;
  readonly log: Logger;
  readonly nowMs: () => number;
  readonly overheads: Overheads;
  readonly executions: Executions;
  readonly secrets: Secrets;
  readonly stoppedPublishers: StoppedPublishers;
  /** @throws DefaasError PROVIDER_UNKNOWN */
  provider(name: ProviderName): Provider;
  readonly providerNames: readonly ProviderName[];
}
