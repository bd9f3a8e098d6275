// Log lines of a version from all its clouds, ordered by time.
import type { LogLine, ProviderName } from '../../adapters/provider.ts';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { toDefaasError } from '../errors.ts';
import type { Failure } from './deploy-step.ts';
import type { DeploymentParts } from './parts.ts';

/** Longest time to read one cloud's logs, ms. */
const READ_MS = 20_000;

export interface CloudLine extends LogLine {
  readonly provider: ProviderName;
  readonly region: string;
}

/** A cloud that returned no logs, and why; PROVIDER_UNSUPPORTED if it has no readable logs. */
export interface SilentCloud extends Failure {
  readonly provider: ProviderName;
  readonly region: string;
}

export interface Logs {
  /** Oldest first, at most as many as requested. */
  readonly lines: readonly CloudLine[];
  readonly silent: readonly SilentCloud[];
}

export async function readLogs(
  gateway: DeploymentParts,
  functionVersion: Hex,
  query: { readonly sinceMs: number; readonly limit: number },
): Promise<Logs> {
  const lines: CloudLine[] = [];
  const silent: SilentCloud[] = [];
  const records = gateway.deployments
    .records(functionVersion)
    .filter(({ state }) => state !== 'gone');
  await Promise.all(
    records.map(async (record) => {
      const { provider, region } = record;
      const signal = AbortSignal.any([gateway.closing, AbortSignal.timeout(READ_MS)]);
      try {
        const read = await gateway.provider(provider).logs(record, query, { signal });
        lines.push(...read.map((line) => ({ ...line, provider, region })));
      } catch (error) {
        const { code, message } = toDefaasError(error);
        silent.push({ provider, region, code, message });
      }
    }),
  );
  lines.sort((a, b) => a.atMs - b.atMs);
  return { lines: lines.slice(-query.limit), silent };
}
