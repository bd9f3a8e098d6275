// What every cloud must be able to do for a gateway: put a function version there, call it once, take it away.
// The attempt step of an invocation calls `invoke`; `defaas deploy` and its like call the rest.

/** Names of the clouds a version can be deployed to; `adapters/providers.ts` has the factory of each. */
export type ProviderName = 'aws-lambda' | 'google-cloud-functions' | 'azure-functions' | 'local';

/** What a cloud can take, as documented by the cloud or lowered by the operator. Checked before any network call. */
export interface ProviderLimits {
  readonly maxRequestBytes: number;
  readonly maxResponseBytes: number;
  readonly maxTimeoutMs: number;
  readonly minMemoryMiB: number;
  readonly maxMemoryMiB: number;
  readonly maxPackageBytes: number;
  readonly maxUnpackedBytes: number;
  readonly maxEnvBytes: number;
  /** Most of a cold start that is billed to nobody, ms: what the cloud takes before the function's own code runs. */
  readonly coldStartMs: number;
}

/** One function version as a cloud gets it. The artifact's files are the same on every cloud; the adapter adds its shim. */
export interface DeploymentSpec {
  /** Deterministic cloud name, `df-` and 26 characters of base32; valid on every cloud. */
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
  /** Secret environment, name -> value; never in tags, plans, logs or errors. */
  readonly secrets: Readonly<Record<string, string>>;
  /** Name -> a number that rises with each change of the value: how a cloud's copy is known to be the newest. */
  readonly secretRevisions?: Readonly<Record<string, number>>;
  /** Most calls at once, or undefined for the cloud's own limit. */
  readonly maxConcurrency?: number;
}

/** A live function at a cloud: everything `invoke` and `remove` need, JSON-serialisable, stored by the gateway. */
export interface Deployment {
  readonly provider: ProviderName;
  readonly name: string;
  readonly region: string;
  /** Hash of everything in the spec and of the shim; the same spec gives the same hash. */
  readonly specHash: string;
  readonly artifactCid: string;
  readonly memoryMiB: number;
  readonly timeoutMs: number;
  /** Where `invoke` sends its request (https URL of the function, or of the control plane on AWS). */
  readonly url: string;
  /** What the call must carry (an Azure host key); kept as a secret by the gateway, never shown. */
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
  /** The only deadline: aborts network and waiting. */
  readonly signal: AbortSignal;
  /** Called after each step that was done. */
  readonly onStep?: (step: PlanStep) => void;
}

export interface InvokeRequest {
  /** Opaque id of the call, for the cloud's logs. */
  readonly callId: string;
  readonly method: string;
  /** Path as the function sees it, beginning with `/`, percent-encoded. */
  readonly path: string;
  /** Query without `?`, may be empty. */
  readonly query: string;
  /** Lower-case names, in order, repeated names allowed. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Uint8Array;
}

export interface InvokeOptions {
  /** The only deadline. Other calls may have the same one: nothing of a call may stay with it. */
  readonly signal: AbortSignal;
}

export interface WarmOptions extends InvokeOptions {
  readonly holdMs: number;
}

/**
 * What a call used. `source` says whose word it is: the cloud's, the shim's inside the instance, or the gateway's clock. The
 * publisher's code runs beside the shim and can forge its word, so `broker/invocation/metering.ts` bounds it.
 */
export interface Usage {
  /** At most `measuredMs`, rounded up. */
  readonly billedMs: number;
  readonly memoryMiB: number;
  readonly peakMemoryMiB?: number;
  /** Time that the function's module took to load, where this call waited for it; at most `measuredMs`. */
  readonly initMs?: number;
  readonly egressBytes: number;
  /** The gateway's own clock, from the request's last byte out to the answer's last byte in; see `Answer.measuredMs`. */
  readonly measuredMs: number;
  readonly source: 'provider' | 'shim' | 'gateway';
  /** The reported time was above the measured one; the smaller is kept. */
  readonly disputed?: boolean;
}

/** Why a function gave no answer: it failed, the cloud did not. Price 0. */
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

/** Executions of one deployment that ended in a window, whoever began them. */
export interface ExecutionTotal {
  readonly count: number;
  /** Time of all of them together. */
  readonly ms: number;
}

/**
 * How a cloud counts executions itself, apart from what it tells with each call. `leastMs` and
 * `stepMs` say how it rounds the time of one execution before it adds it up: whoever compares must
 * round its own figures the same way.
 */
export interface ExecutionMetric {
  readonly leastMs: number;
  readonly stepMs: number;
  /** A window can be read completely so long after its end, ms. */
  readonly delayMs: number;
  /** An execution may be counted so much earlier or later than it ended, ms. */
  readonly skewMs: number;
  /**
   * `fromMs` and `toMs` are Unix times at a full minute; a deployment without executions has 0.
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
  /** Left out where each call tells its time (AWS), or nothing counts beside the gateway (local). */
  readonly executionMetric?: ExecutionMetric;
  /** Of a provider that runs functions on this machine: in a sandbox, or only for publishers whom the operator trusts. */
  readonly isolation?: 'sandbox' | 'trusted';
  /** Reads the cloud, changes nothing. The same state gives the same plan. */
  plan(spec: DeploymentSpec, options: ControlOptions): Promise<Plan>;
  /** Plan, do, wait until callable. Idempotent; interrupted at any step, a second run finishes the work. */
  deploy(spec: DeploymentSpec, options: ControlOptions): Promise<Deployment>;
  /** One HTTP attempt, never a retry. @throws ProviderError with `ran`, the only ground for another attempt. */
  invoke(
    deployment: Deployment,
    request: InvokeRequest,
    options: InvokeOptions,
  ): Promise<InvokeResult>;
  /**
   * One call that the shim answers itself, after `holdMs` (at most 100), so that such calls at once reach instances apart. A new
   * instance loads the publisher's module; its handler does not run. Left out where nothing has to be kept warm.
   * @throws ProviderError
   */
  warm?(deployment: Deployment, options: WarmOptions): Promise<void>;
  /** Gone afterwards; already gone is success. */
  remove(deployment: Pick<Deployment, 'name' | 'region'>, options: ControlOptions): Promise<void>;
  /** Every deployment of this gateway in the account and region, by tags, also those the gateway has forgotten. */
  list(
    region: string,
    options: ControlOptions,
  ): AsyncIterable<Pick<Deployment, 'name' | 'region' | 'specHash'>>;
  /** Newest last. @throws ProviderError PROVIDER_UNSUPPORTED where the cloud keeps none within reach. */
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
  /** `no`: certain that the function did not run; `maybe`: not known. */
  readonly ran: 'no' | 'maybe';
  readonly status?: number | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

/**
 * The cloud could not do its part. `ran` is the only ground for another attempt
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
