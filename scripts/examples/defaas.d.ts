// Types of a DeFaaS handler. They are global, so that a handler imports nothing of DeFaaS.
declare namespace Defaas {
  /** The second argument of a handler. */
  interface Context {
    /** Where this call runs. */
    readonly provider: 'aws-lambda' | 'google-cloud-functions' | 'azure-functions' | 'local';
    /** The cloud's own id of this call. */
    readonly requestId: string;
    /** `owner/name`. */
    readonly functionName: string;
    /** Number of the version. */
    readonly version: number;
    /** The function's public URL, where the gateway tells it. */
    readonly url?: string;
    /** Time that is left before the cloud ends the call, ms. */
    remainingMs(): number;
    /** The call's CloudEvent, if it is one, in one form for both modes of the HTTP binding. */
    readonly event?: CloudEvent | undefined;
    /** Aborted when the time is up. */
    readonly signal: AbortSignal;
    /** Writes a line to the log, with the id of the call. */
    log(...values: unknown[]): void;
  }

  /** A CloudEvent 1.0. Each attribute is a text, extensions too. */
  interface CloudEvent {
    readonly specversion: '1.0';
    readonly id: string;
    readonly source: string;
    readonly type: string;
    /** JSON data is its value, other data is a Uint8Array; undefined if there is none. */
    readonly data?: unknown;
    readonly [attribute: string]: unknown;
  }

  /** `export default (async (request, context) => ...) satisfies Defaas.Handler;` */
  type Handler = (request: Request, context: Context) => Response | Promise<Response>;
}
