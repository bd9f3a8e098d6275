// Types of a deployment's progress.
import type { PlanStep, ProviderName } from '../../adapters/provider.ts';
import type { ErrorCode } from '../errors.ts';

/** What happened at a cloud, as reported in the deployment's event stream. */
export interface DeployStep {
  readonly provider: ProviderName;
  readonly action: PlanStep['action'] | 'enrol' | 'retire' | 'announce';
  readonly resource: string;
  readonly state: 'done' | 'failed';
  readonly message: string;
}

export interface Failure {
  readonly code: ErrorCode;
  /** One line, without values of secrets. */
  readonly message: string;
}

export interface DeployedProvider {
  readonly provider: ProviderName;
  readonly region: string;
  readonly state: 'live' | 'failed' | 'gone';
  readonly error?: Failure;
}
