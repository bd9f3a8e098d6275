// A cloud in the test's own process: its functions are JavaScript functions, there is nothing to
// deploy.
import {
  type InvokeRequest,
  type InvokeResult,
  type Provider,
  ProviderError,
  type ProviderName,
} from '../../../adapters/provider.ts';
import type { Spender } from '../../../broker/money/free-failures.ts';
import type { Candidate } from '../../../broker/routing/choose.ts';
import { createCircuit } from '../../../broker/routing/circuit.ts';
import { createColdStarts } from '../../../broker/routing/cold-starts.ts';
import { createLatency } from '../../../broker/routing/latency.ts';
import { createOverhead } from '../../../broker/routing/overheads.ts';

import type { Address } from '../../../contracts/libraries/keccak.ts';

type Invoke = (request: InvokeRequest, signal: AbortSignal) => Promise<InvokeResult>;

interface CandidateOptions {
  readonly provider?: ProviderName;
  readonly region?: string;
  readonly costPico?: bigint;
  readonly invoke?: Invoke;
}

/** A deployment at a cloud of its own. */
export function createCandidate(id: number, options: CandidateOptions = {}): Candidate {
  const { provider: name = 'local', region = 'here', costPico = 0n, invoke = answer() } = options;
  return {
    id,
    account: `0x${'18'.repeat(20)}`,
    provider: createCloud(name, invoke),
    deployment: {
      provider: name,
      name: `df-${id}`,
      region,
      specHash: '',
      artifactCid: '',
      memoryMiB: 128,
      timeoutMs: 1000,
      url: '',
    },
    costPico,
    inFlight: 0,
    peakInFlight: 0,
    circuit: createCircuit(),
    latency: createLatency(),
    overhead: createOverhead(),
    coldStarts: createColdStarts(),
    executions: undefined,
  };
}

/** Function 1 of a publisher, whose calls may take a second. */
export function createSpender(
  of: { readonly functionId?: bigint; readonly owner?: Address; readonly timeoutMs?: number } = {},
): Spender {
  const { functionId = 1n, owner = `0x${'19'.repeat(20)}`, timeoutMs = 1_000 } = of;
  return { label: `f${functionId}@1`, function: { owner }, version: { functionId, timeoutMs } };
}

/** Answers with the text, and reports `measuredMs`. */
export function answer(text = '', measuredMs = 1): Invoke {
  return async () => ({
    ok: true,
    status: 200,
    headers: [],
    body: Buffer.from(text),
    requestId: text,
    usage: { billedMs: measuredMs, memoryMiB: 128, egressBytes: 0, measuredMs, source: 'gateway' },
  });
}

/** A cloud that refuses every call. */
export function refuse(ran: 'no' | 'maybe' = 'no'): Invoke {
  return async () => {
    throw new ProviderError('PROVIDER_UNAVAILABLE', 'on purpose', {
      provider: 'local',
      operation: 'invoke',
      target: 'test',
      ran,
    });
  };
}

function createCloud(name: ProviderName, invoke: Invoke): Provider {
  const unsupported = async (): Promise<never> => {
    throw new ProviderError('PROVIDER_UNSUPPORTED', 'nothing is deployed here', {
      provider: name,
      operation: 'deploy',
      target: 'test',
      ran: 'no',
    });
  };
  return {
    name,
    limits: {
      maxRequestBytes: 1_000_000,
      maxResponseBytes: 1_000_000,
      maxTimeoutMs: 60_000,
      minMemoryMiB: 128,
      maxMemoryMiB: 1024,
      maxPackageBytes: 1_000_000,
      maxUnpackedBytes: 1_000_000,
      maxEnvBytes: 1000,
      coldStartMs: 1000,
    },
    regions: ['here'],
    plan: unsupported,
    deploy: unsupported,
    invoke: (_deployment, request, { signal }) => invoke(request, signal),
    remove: unsupported,
    list: async function* () {},
    logs: unsupported,
    close: async () => {},
  };
}
