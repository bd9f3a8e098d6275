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
    /** Aborted when the time is up. */
    readonly signal: AbortSignal;
    /** Writes a line to the log, with the id of the call. */
    log(...values: unknown[]): void;
  }

  /** `export default (async (request, context) => ...) satisfies Defaas.Handler;` */
  type Handler = (request: Request, context: Context) => Response | Promise<Response>;
}
