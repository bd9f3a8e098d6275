// Sign-in: a nonce, then a signed SIWE message for an access token (token exchange, RFC 8693).
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { DPOP_ALGORITHMS } from '../dpop.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import { NONCE_LIFE_MS, type SignedMessage } from '../sign-in.ts';
import { TOKEN_LIFE_SEC } from '../tokens.ts';
import { ownOrigins, proofOf } from './bearer.ts';

const GRANT_TYPE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const SIWE_TYPE = 'urn:defaas:params:oauth:token-type:siwe';
const ACCESS_TYPE = 'urn:ietf:params:oauth:token-type:access_token';

export async function oauthRoutes(
  server: FastifyInstance,
  { gateway }: { readonly gateway: Gateway },
): Promise<void> {
  server.post('/oauth/nonce', async (_request, reply) => {
    reply.header('cache-control', 'no-store');
    return { nonce: gateway.signIn.nonce(), expires_in: NONCE_LIFE_MS / 1000 };
  });

  server.post('/oauth/token', async (request, reply) => {
    const form = new URLSearchParams(
      Buffer.isBuffer(request.body) ? request.body.toString('utf8') : '',
    );
    if (form.get('grant_type') !== GRANT_TYPE) throw refused(`grant_type must be ${GRANT_TYPE}`);
    if (form.get('subject_token_type') !== SIWE_TYPE) {
      throw refused(`subject_token_type must be ${SIWE_TYPE}`);
    }
    const signed = signedMessageIn(form.get('subject_token') ?? '');
    const jkt = await boundKey(gateway, request);
    const { subject, lane } = await gateway.signIn.verify(signed, ownHosts(server, gateway));
    reply.header('cache-control', 'no-store');
    return {
      access_token: await gateway.tokens.issue({ signedBy: subject, lane, jkt }),
      issued_token_type: ACCESS_TYPE,
      token_type: jkt === undefined ? 'Bearer' : 'DPoP',
      expires_in: TOKEN_LIFE_SEC,
    };
  });

  server.get('/.well-known/jwks.json', async () => gateway.tokens.jwks);

  server.get('/.well-known/oauth-authorization-server', async (request) => {
    const origin = `${request.protocol}://${request.host}`;
    return {
      issuer: origin,
      token_endpoint: `${origin}/oauth/token`,
      jwks_uri: `${origin}/.well-known/jwks.json`,
      grant_types_supported: [GRANT_TYPE],
      response_types_supported: [],
      token_endpoint_auth_methods_supported: ['none'],
      dpop_signing_alg_values_supported: DPOP_ALGORITHMS,
    };
  });
}

/** The thumbprint of the key to bind to; undefined without a proof. @throws DefaasError SIGN_IN_REFUSED  with RFC 9449's own word */
async function boundKey(gateway: Gateway, request: FastifyRequest): Promise<string | undefined> {
  try {
    const proof = proofOf(gateway, request);
    return proof && (await gateway.proofs.verify(proof));
  } catch (error) {
    if (error instanceof DefaasError) throw refused(error.message, 'invalid_dpop_proof');
    throw error;
  }
}

/** What a message may be for: `host[:port]` of each origin. */
function ownHosts(server: FastifyInstance, gateway: Gateway): ReadonlySet<string> {
  return new Set(ownOrigins(server, gateway).map((origin) => new URL(origin).host));
}

/** base64url of `{"message", "signature"}`. */
function signedMessageIn(text: string): SignedMessage {
  try {
    const { message, signature } = JSON.parse(Buffer.from(text, 'base64url').toString('utf8'));
    if (typeof message === 'string' && /^0x[0-9a-f]+$/i.test(signature)) {
      return { message, signature };
    }
  } catch {
    // Not base64url or not JSON: the same answer as below.
  }
  throw refused('subject_token must be base64url of {"message", "signature"}');
}

/** OAuth's own word for it (RFC 6749 section 5.2) beside our code. */
function refused(why: string, error = 'invalid_request'): DefaasError {
  return new DefaasError('SIGN_IN_REFUSED', `sign-in: ${why}`, {
    members: { error, error_description: why },
  });
}
