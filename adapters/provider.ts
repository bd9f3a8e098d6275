// The interface of a cloud: deploy a function version, call it once, remove it. The attempt step of
// an invocation calls `invoke`. The commands of an operator, such as `defaas deploy`, call the
// rest.

/** Names of the clouds. `adapters/providers.ts` has the factory of each. */
export type ProviderName = 'aws-lambda' | 'google-cloud-functions' | 'azure-functions' | 'local';

/** Limits that the cloud documents or that the operator lowers. Checked before any request. */
export interface ProviderLimits {
  readonly maxRequestBytes: number;
  readonly maxResponseBytes: number;
  readonly maxTimeoutMs: number;
  readonly minMemoryMiB: number;
  readonly maxMemoryMiB: number;
  readonly maxPackageBytes: number;
  readonly maxUnpackedBytes: number;
  readonly maxEnvBytes: number;
  /**
   * Longest part of a cold start that nobody pays for, ms: the time of the cloud before the
   * function's own code runs.
   */
  readonly coldStartMs: number;
}

/**
 * One function version to deploy. The artifact's files are the same on every cloud. The adapter
 * adds its shim.
 */
export interface DeploymentSpec {
  /** Deterministic name, `df-` and 26 characters of base32. Valid on every cloud. */
  readonly name: string;
  readonly region: string;
  /** Path in the artifact -> bytes; `handler.mjs` is the entry. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** Opaque text for tags: CIDv1 of the artifact. */
  readonly artifactCid: string;
  /** Opaque text for tags and the handler's context: `owner/name`. */
  readonly functionName: string;
  /** Version number, dense from 1. */
  readonly version: number;
  readonly memoryMiB: number;
  readonly timeoutMs: number;
  /** Public environment of the version. */
  readonly env: Readonly<Record<string, string>>;
  /** Secret environment, name -> value. Never in tags, plans, logs or errors. */
  readonly secrets: Readonly<Record<string, string>>;
  /**
   * Name -> a number that rises with each change of the value. It tells whether a cloud has the
   * newest value.
   */
  readonly secretRevisions?: Readonly<Record<string, number>>;
  /** Most concurrent calls. Undefined means the cloud's own limit. */
  readonly maxConcurrency?: number;
}

/**
 * A deployed function: all that `invoke` and `remove` need. JSON-serialisable. The gateway stores
 * it.
 */
export interface Deployment {
  readonly provider: ProviderName;
  readonly name: string;
  readonly region: string;
  /** Hash of the spec and of the shim. The same spec gives the same hash. */
  readonly specHash: string;
  readonly artifactCid: string;
  readonly memoryMiB: number;
  readonly timeoutMs: number;
  /** URL that `invoke` calls: https, of the function or (on AWS) of the control plane. */
  readonly url: string;
  /** Key that a call carries (an Azure host key). The gateway keeps it secret. */
  readonly key?: string;
}

export interface PlanStep {
  readonly action: 'create' | 'update' | 'keep' | 'wait' | 'remove';
  readonly resource: string;
  readonly name: string;
  readonly why: string;
}

export interface Plan {
  readonly steps: readonly PlanStep[];
}

export interface ControlOptions {
  /** The only deadline. Aborts requests and pauses. */
  readonly signal: AbortSignal;
  /** Called after each step. */
  readonly onStep?: (step: PlanStep) => void;
}

export interface InvokeRequest {
  /** Opaque id of the call, for the cloud's logs. */
  readonly callId: string;
  readonly method: string;
  /** Path that the function sees. Begins with `/`, percent-encoded. */
  readonly path: string;
  /** Query without `?`, may be empty. */
  readonly query: string;
  /** Lower-case names, in order, repeated names allowed. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Uint8Array;
}

export interface InvokeOptions {
  /** The only deadline. Calls may share it, so a call must remove its listeners. */
  readonly signal: AbortSignal;
}

export interface WarmOptions extends InvokeOptions {
  readonly holdMs: number;
}

/**
 * What a call used. `source` names who measured: the cloud, the shim inside the instance, or the
 * gateway's clock. The publisher's code runs beside the shim and can forge its figures, so
 * `broker/invocation/metering.ts` bounds them.
 */
export interface Usage {
  /** At most `measuredMs`, rounded up. */
  readonly billedMs: number;
  readonly memoryMiB: number;
  readonly peakMemoryMiB?: number;
  /** Load time of the function's module if this call waited for it. At most `measuredMs`. */
  readonly initMs?: number;
  readonly egressBytes: number;
  /**
   * By the gateway's clock, from the last byte of the request to the last byte of the answer. See
   * `Answer.measuredMs`.
   */
  readonly measuredMs: number;
  readonly source: 'provider' | 'shim' | 'gateway';
  /** The reported time was above the measured one. The smaller one counts. */
  readonly disputed?: boolean;
}

/** Why the function gave no answer, though the cloud worked. The price is 0. */
export interface FunctionFailure {
  readonly kind: 'thrown' | 'timeout' | 'exit' | 'init' | 'too-large';
  readonly type: string;
  readonly message: string;
}

interface InvokeOutcome {
  readonly usage: Usage;
  /** The cloud's own request id. */
  readonly requestId: string;
  readonly cold?: boolean;
}

export type InvokeResult = InvokeOutcome &
  (
    | {
        readonly ok: true;
        /** Status of the Response that the function returned, also 5xx. */
        readonly status: number;
        readonly headers: readonly (readonly [name: string, value: string])[];
        readonly body: Uint8Array;
      }
    | { readonly ok: false; readonly error: FunctionFailure }
  );

export interface LogLine {
  readonly atMs: number;
  readonly requestId?: string;
  readonly level: string;
  readonly text: string;
}

/** All executions of one deployment that ended in a window, not only the gateway's. */
export interface ExecutionTotal {
  readonly count: number;
  /** Sum of their times. */
  readonly ms: number;
}

/**
 * A cloud's own count of executions. `leastMs` and `stepMs` are its rounding of one execution
 * before it adds the times. A comparison must round the gateway's figures in the same way.
 */
export interface ExecutionMetric {
  readonly leastMs: number;
  readonly stepMs: number;
  /** Time after the end of a window until the count is complete, ms. */
  readonly delayMs: number;
  /** Largest difference between the end of an execution and the time it counts at, ms. */
  readonly skewMs: number;
  /**
   * `fromMs` and `toMs` are Unix times at a full minute. A deployment without executions has 0.
   * @throws ProviderError PROVIDER_FORBIDDEN the account may not read metrics; PROVIDER_NOT_FOUND
   */
  read(
    deployment: Pick<Deployment, 'name' | 'region' | 'memoryMiB'>,
    window: { readonly fromMs: number; readonly toMs: number },
    options: ControlOptions,
  ): Promise<ExecutionTotal>;
}

export interface Provider {
  readonly name: ProviderName;
  readonly limits: ProviderLimits;
  readonly regions: readonly string[];
  /** Missing when each call reports its time (AWS), or when only the gateway counts (local). */
  readonly executionMetric?: ExecutionMetric;
  /**
   * For a provider on this machine: `trusted` has no sandbox and runs only publishers whom the
   * operator trusts.
   */
  readonly isolation?: 'sandbox' | 'trusted';
  /** Reads the state and changes nothing. The same state gives the same plan. */
  plan(spec: DeploymentSpec, options: ControlOptions): Promise<Plan>;
  /**
   * Plans, does the steps and waits until the function can be called. Idempotent. After an
   * interruption at any step, a second run finishes the work.
   */
  deploy(spec: DeploymentSpec, options: ControlOptions): Promise<Deployment>;
  /**
   * One HTTP attempt, never a retry.
   * @throws ProviderError  its `ran` alone decides whether the gateway tries again
   */
  invoke(
    deployment: Deployment,
    request: InvokeRequest,
    options: InvokeOptions,
  ): Promise<InvokeResult>;
  /**
   * One call that the shim answers itself after `holdMs` (at most 100), so that concurrent ones
   * reach different instances. A new instance loads the publisher's module. The handler does not
   * run. Missing when a provider has no cold instances.
   * @throws ProviderError
   */
  warm?(deployment: Deployment, options: WarmOptions): Promise<void>;
  /** Succeeds also when the function is not there. */
  remove(deployment: Pick<Deployment, 'name' | 'region'>, options: ControlOptions): Promise<void>;
  /**
   * Every deployment of this gateway in the account and region, found by tags. The gateway may not
   * know all of them.
   */
  list(
    region: string,
    options: ControlOptions,
  ): AsyncIterable<Pick<Deployment, 'name' | 'region' | 'specHash'>>;
  /** Newest last. @throws ProviderError PROVIDER_UNSUPPORTED  the gateway cannot reach the logs */
  logs(
    deployment: Pick<Deployment, 'name' | 'region'>,
    query: { readonly sinceMs: number; readonly limit: number },
    options: ControlOptions,
  ): Promise<readonly LogLine[]>;
  /** Closes pooled connections. */
  close(): Promise<void>;
}

export type ProviderErrorCode =
  | 'PROVIDER_THROTTLED'
  | 'PROVIDER_UNAVAILABLE'
  | 'PROVIDER_UNAUTHENTICATED'
  | 'PROVIDER_FORBIDDEN'
  | 'PROVIDER_NOT_FOUND'
  | 'PROVIDER_CONFLICT'
  | 'PROVIDER_INVALID'
  | 'PROVIDER_TOO_LARGE'
  | 'PROVIDER_QUOTA'
  | 'PROVIDER_DEADLINE'
  | 'PROVIDER_CONNECTION'
  | 'PROVIDER_DEPLOY_FAILED'
  | 'PROVIDER_PROTOCOL'
  | 'PROVIDER_UNSUPPORTED';

export interface ProviderErrorOptions {
  readonly provider: ProviderName;
  readonly operation: string;
  readonly target: string;
  /** `no`: the function did certainly not run. `maybe`: it is not known. */
  readonly ran: 'no' | 'maybe';
  readonly status?: number | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

/**
 * The cloud could not do its part. `ran` alone decides whether the gateway tries again
 * (docs/providers.md 1.1).
 */
export class ProviderError extends Error {
  override readonly name = 'ProviderError';
  readonly code: ProviderErrorCode;
  readonly provider: ProviderName;
  readonly operation: string;
  readonly target: string;
  readonly ran: 'no' | 'maybe';
  readonly status: number | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: ProviderErrorCode, message: string, options: ProviderErrorOptions) {
    super(message, { cause: options.cause });
    this.code = code;
    this.provider = options.provider;
    this.operation = options.operation;
    this.target = options.target;
    this.ran = options.ran;
    this.status = options.status;
    this.retryAfterMs = options.retryAfterMs;
  }
}
