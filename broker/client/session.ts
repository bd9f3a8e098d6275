// A signed-in connection: signs in when needed, sends the token with each request, and renews it
// before it ends or when it is refused.
import type { Hex } from '../../contracts/libraries/keccak.ts';
import type { Connection, RequestOptions } from './connection.ts';
import { createDpopKey, type DpopKey } from './dpop.ts';
import { readProblem } from './errors.ts';
import { createKeySigner, type Key, type KeySigner } from './key.ts';
import { type LaneName, signIn, type Token } from './sign-in.ts';

/**
 * A token that ends within this time is renewed first, ms, so that it does not end during a call.
 */
const RENEW_BEFORE_MS = 60_000;

/** The common part of a session and a service account: requests with a token. */
export interface TokenSender {
  /** Resolves for any status. A 401 is retried once with a fresh token. */
  send(path: string, options?: RequestOptions): Promise<Response>;
  /** Resolves for 2xx only. @throws the problem's code, GATEWAY_UNREACHABLE */
  request(path: string, options?: RequestOptions): Promise<Response>;
}

export interface Session extends TokenSender {
  readonly connection: Connection;
  readonly key: KeySigner;
  readonly lane: LaneName | undefined;
  /** Marks the lane's own calls; undefined if neither the key nor its holder provides one. */
  readonly ownCallsKey: Hex | undefined;
}

export interface TokenOptions {
  readonly connection: Connection;
  /**
   * Binds the token to a key of this session (RFC 9449), so that a stolen token is useless. This is
   * the default; `false` asks for a bearer token. A proof per request costs about 0.2 ms of the
   * caller's CPU and 0.3 ms of the gateway's; a bearer call takes 0.35 ms.
   */
  readonly dpop?: boolean;
  /** An earlier token, as `onToken` received it. */
  readonly token?: Token;
  /** Called with each new token, to keep it; it is a secret. */
  readonly onToken?: (token: Token) => void;
}

export interface SessionOptions extends TokenOptions {
  /** The account's key, or the lane's. */
  readonly key: Key;
  /** The lane to spend from; without one the session cannot invoke. */
  readonly lane?: LaneName;
  /**
   * 32 bytes that mark the lane's own calls (`own-calls.ts`), for a key that cannot be exported,
   * such as a browser wallet's. Keep them as secret as the key, and share them with everyone who
   * spends from the lane. Leave out for a private key, from which they are derived.
   */
  readonly ownCallsKey?: Hex;
}

/** Creates a session. Nothing is sent before the first request. */
export async function createSession(options: SessionOptions): Promise<Session> {
  const { connection, lane } = options;
  const key = await createKeySigner(options.key);
  const sender = createTokenSender(options, (dpop) => signIn(connection, key, lane, dpop));
  const ownCallsKey = options.ownCallsKey ?? key.ownCallsKey;
  return { connection, key, lane, ownCallsKey, ...sender };
}

/**
 * Sends requests with a token from `obtain`, and obtains another one before it ends or when it is
 * refused.
 */
export function createTokenSender(
  options: TokenOptions,
  obtain: (dpop: DpopKey | undefined) => Promise<Token>,
): TokenSender {
  const { connection, dpop = true } = options;
  let token = options.token;
  let renewing: Promise<Token> | undefined;

  // Parallel requests share one sign-in.
  const renew = () => {
    renewing ??= (dpop ? createDpopKey() : Promise.resolve(undefined))
      .then(obtain)
      .then((fresh) => {
        token = fresh;
        options.onToken?.(fresh);
        return fresh;
      })
      .finally(() => {
        renewing = undefined;
      });
    return renewing;
  };
  const current = async () =>
    token && token.expiresAtMs - Date.now() > RENEW_BEFORE_MS ? token : await renew();
  const sendWith = async (by: Token, path: string, init: RequestOptions = {}) => {
    const headers = new Headers(init.headers);
    headers.set('authorization', `${by.dpop ? 'DPoP' : 'Bearer'} ${by.accessToken}`);
    if (by.dpop) {
      const url = new URL(path, connection.origin).href;
      headers.set('dpop', await by.dpop.prove(init.method ?? 'GET', url, by.accessToken));
    }
    return connection.send(path, { ...init, headers });
  };
  const send: TokenSender['send'] = async (path, init) => {
    const first = await sendWith(await current(), path, init);
    if (first.status !== 401) return first;
    const { code } = await readProblem(first.clone(), path);
    if (code !== 'TOKEN_INVALID' && code !== 'DPOP_INVALID') return first;
    await first.body?.cancel();
    return sendWith(await renew(), path, init);
  };
  return {
    send,
    request: async (path, init) => {
      const reply = await send(path, init);
      if (reply.ok) return reply;
      throw await readProblem(reply, `${init?.method ?? 'GET'} ${path}`);
    },
  };
}
