// Loads the official SDK on first use and keeps one client of it, with its credential.

import type { WebSiteManagementClient } from '@azure/arm-appservice';
import type { UpstreamResponse } from '../http/send.ts';

/** A source of access tokens. `@azure/identity` has one for each way of signing in. */
export interface AzureCredential {
  getToken(
    scopes: string | string[],
  ): Promise<{ token: string; expiresOnTimestamp: number } | null>;
}

export interface ArmRequest {
  readonly url: string;
  readonly method: 'GET' | 'POST' | 'PATCH';
  readonly headers?: Record<string, string>;
  readonly body?: Uint8Array | string;
  readonly signal: AbortSignal;
}

/** The SDK's client, and signed requests that have no method in it. */
export interface ArmApi {
  readonly client: WebSiteManagementClient;
  send(request: ArmRequest): Promise<Pick<UpstreamResponse, 'status' | 'headers' | 'body'>>;
}

export interface SdkLoader {
  /** The same client on each call. */
  open(): Promise<ArmApi>;
  /** The configured credential, else `DefaultAzureCredential`. */
  signIn(): Promise<AzureCredential>;
}

interface SdkOptions {
  readonly subscriptionId: string;
  readonly credential?: AzureCredential;
  readonly endpoint: string | undefined;
  readonly caPem: string | undefined;
}

/** Loading the SDK takes 40 MB and 0.25 s, which a gateway without control calls does not spend. */
export function createSdkLoader(options: SdkOptions): SdkLoader {
  let opening: Promise<ArmApi> | undefined;
  let signingIn: Promise<AzureCredential> | undefined;

  function signIn(): Promise<AzureCredential> {
    const { credential } = options;
    signingIn ??= credential ? Promise.resolve(credential) : defaultCredential();
    return signingIn;
  }

  return {
    open() {
      opening ??= openApi(options, signIn).catch((error) => {
        opening = undefined;
        throw error;
      });
      return opening;
    },
    signIn,
  };
}

async function openApi(
  { subscriptionId, endpoint, caPem }: SdkOptions,
  signIn: SdkLoader['signIn'],
): Promise<ArmApi> {
  const { WebSiteManagementClient } = await import('@azure/arm-appservice');
  const rest = await import('@azure/core-rest-pipeline');
  const client = new WebSiteManagementClient(await signIn(), subscriptionId, {
    retryOptions: { maxRetries: 2, retryDelayInMs: 200, maxRetryDelayInMs: 2000 },
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(caPem === undefined ? {} : { tlsOptions: { ca: caPem } }),
  });
  const http = rest.createDefaultHttpClient();

  return {
    client,
    async send({ url, method, headers, body, signal }) {
      const request = rest.createPipelineRequest({
        url,
        method,
        headers: rest.createHttpHeaders(headers),
        abortSignal: signal,
        ...(body === undefined ? {} : { body }),
      });
      const response = await client.pipeline.sendRequest(http, request);
      const text = response.bodyAsText ?? '';
      return {
        status: response.status,
        headers: response.headers.toJSON(),
        body: Buffer.from(text),
      };
    },
  };
}

async function defaultCredential(): Promise<AzureCredential> {
  const { DefaultAzureCredential } = await import('@azure/identity');
  return new DefaultAzureCredential();
}
