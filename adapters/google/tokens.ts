// Google's two kinds of token: access tokens for the control plane, ID tokens for calls of a
// function. The source is the application default credentials, or a named metadata server (an
// emulator's).

import type { GoogleAuth } from 'google-auth-library';
import type { Sender } from '../http/send.ts';
import { CredentialsError } from './errors.ts';

const SCOPES = ['https://www.googleapis.com/auth/cloud-platform'];

/** Renew an ID token this long before it expires. */
const RENEW_BEFORE_MS = 5 * 60 * 1000;

/** Most ID tokens in the cache, one per function. */
const MAX_AUDIENCES = 4096;

const MAX_TOKEN_BYTES = 64 * 1024;
const METADATA_TIMEOUT_MS = 10_000;

export interface GoogleTokens {
  /** Signs the requests of the SDK. @throws CredentialsError no credentials were found */
  auth(): Promise<GoogleAuth>;
  /**
   * A JWT with this `aud`, cached until it is about to expire. Calls that wait for the same token
   * share one request. Returns synchronously when the token is cached. @throws CredentialsError
   */
  idToken(audience: string): string | Promise<string>;
  /** Drops a token that the function's front refused. The next `idToken` fetches a new one. */
  forget(audience: string): void;
}

/**
 * Without `metadataHost` (`host:port`), Google's library searches the environment, gcloud's file
 * and the machine's metadata server.
 */
export function createGoogleTokens(options: {
  readonly projectId: string;
  readonly metadataHost: string | undefined;
  readonly send: Sender['send'];
  /** Unix time in milliseconds. */
  readonly nowMs: () => number;
}): GoogleTokens {
  const { metadataHost, nowMs } = options;
  const kept = new Map<string, { token: string; expiresAtMs: number }>();
  const fetching = new Map<string, Promise<string>>();
  let made: Promise<GoogleAuth> | undefined;

  function auth(): Promise<GoogleAuth> {
    made ??= metadataHost === undefined ? defaultAuth() : metadataAuth(metadataHost);
    return made;
  }

  async function defaultAuth(): Promise<GoogleAuth> {
    const { GoogleAuth } = await import('google-auth-library');
    const found = new GoogleAuth({ scopes: SCOPES, projectId: options.projectId });
    try {
      await found.getClient();
    } catch {
      // The library's own error says no more than ours.
      made = undefined;
      throw new CredentialsError(
        'no credentials found, set GOOGLE_APPLICATION_CREDENTIALS or run gcloud auth application-default login',
      );
    }
    return found;
  }

  async function metadataAuth(host: string): Promise<GoogleAuth> {
    const { GoogleAuth, OAuth2Client } = await import('google-auth-library');
    // Fetches a new token, once, when one is refused before it expires.
    const authClient = new OAuth2Client({ forceRefreshOnFailure: true });
    authClient.refreshHandler = async () => {
      const path = 'instance/service-accounts/default/token';
      const text = await readMetadata(options.send, host, path);
      // The form of the metadata server. The library refuses a missing member.
      const { access_token, expires_in } = JSON.parse(text) as {
        access_token: string;
        expires_in: number;
      };
      return { access_token, expiry_date: nowMs() + expires_in * 1000 };
    };
    return new GoogleAuth({ authClient, projectId: options.projectId });
  }

  async function fetchIdToken(audience: string): Promise<string> {
    const token =
      metadataHost === undefined
        ? await defaultIdToken(audience)
        : await readMetadata(
            options.send,
            metadataHost,
            `instance/service-accounts/default/identity?format=full&audience=${encodeURIComponent(audience)}`,
          );
    if (kept.size >= MAX_AUDIENCES) kept.delete(kept.keys().next().value ?? '');
    kept.set(audience, { token, expiresAtMs: expiryMs(token) });
    return token;
  }

  async function defaultIdToken(audience: string): Promise<string> {
    const found = await auth();
    try {
      const { idTokenProvider } = await found.getIdTokenClient(audience);
      return await idTokenProvider.fetchIdToken(audience);
    } catch (error) {
      // Only the message: the library's error carries the request, perhaps with a credential.
      const reason = error instanceof Error ? error.message : String(error);
      throw new CredentialsError(`no ID token from the default credentials: ${reason}`);
    }
  }

  function renew(audience: string): Promise<string> {
    const running = fetching.get(audience);
    if (running) return running;
    const fetched = fetchIdToken(audience).finally(() => fetching.delete(audience));
    fetching.set(audience, fetched);
    return fetched;
  }

  return {
    auth,
    forget: (audience) => void kept.delete(audience),
    idToken(audience) {
      const known = kept.get(audience);
      if (known === undefined || known.expiresAtMs <= nowMs()) return renew(audience);
      // The token is still valid, so renew it in the background. If that fails, a later call tries
      // again. After the expiry the failure reaches the caller.
      if (known.expiresAtMs - RENEW_BEFORE_MS <= nowMs()) renew(audience).catch(() => undefined);
      return known.token;
    },
  };
}

async function readMetadata(send: Sender['send'], host: string, path: string): Promise<string> {
  const what = path.split('?')[0];
  const refuse = (reason: string): never => {
    throw new CredentialsError(`metadata server ${host} gave no ${what}: ${reason}`);
  };
  const request = {
    origin: `http://${host}`,
    path: `/computeMetadata/v1/${path}`,
    method: 'GET',
    headers: { 'metadata-flavor': 'Google' },
    body: new Uint8Array(),
  };
  const signal = AbortSignal.timeout(METADATA_TIMEOUT_MS);
  const answer = await send(request, { signal, maxResponseBytes: MAX_TOKEN_BYTES }).catch(
    (error: unknown) => refuse(String(error)),
  );
  const isMetadata = answer.headers['metadata-flavor'] === 'Google';
  if (answer.status !== 200 || !isMetadata) refuse(`answered ${answer.status}`);
  return answer.body.toString();
}

/** `exp` of a JWT. Not verified: the token comes from the gateway's own credentials. */
function expiryMs(token: string): number {
  const payload = Buffer.from(token.split('.')[1] ?? '', 'base64url').toString();
  const { exp } = JSON.parse(payload) as { exp: number };
  return exp * 1000;
}
