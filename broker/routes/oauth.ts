// The authorization server: exchanges a signed SIWE message, or a service account's assertion, for
// an access token (RFC 6749, 8693, 7523).
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Hex } from '../../contracts/libraries/keccak.ts';
import { DefaasError } from '../errors.ts';
import type { Gateway } from '../gateway.ts';
import { ownOrigins, proofOf } from '../http/bearer.ts';
import { authorizationDetails, FUNCTION_DETAIL } from '../identity/authorization-details.ts';
import { clientIdOf } from '../identity/client-assertions.ts';
import { PROOF_ALGORITHMS } from '../identity/public-jwk.ts';
import { NONCE_LIFE_MS, type SignedMessage } from '../identity/sign-in.ts';
import { TOKEN_LIFE_SEC, type TokenSubject } from '../identity/tokens.ts';
import { clientOf } from '../peers.ts';

/** Room for a message or an assertion, authorization details and the other parameters, bytes. */
const TOKEN_BODY_MAX_BYTES = 32 * 1024;
const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const CLIENT_CREDENTIALS = 'client_credentials';
const SIWE_TYPE = 'urn:defaas:params:oauth:token-type:siwe';
const ACCESS_TYPE = 'urn:ietf:params:oauth:token-type:access_token';
const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

export async function oauthRoutes(
  server: FastifyInstance,
  { gateway }: { readonly gateway: Gateway },
): Promise<void> {
  server.post('/oauth/nonce', async (_request, reply) => {
    reply.header('cache-control', 'no-store');
    return { nonce: gateway.signIn.nonce(), expires_in: NONCE_LIFE_MS / 1000 };
  });

  server.post('/oauth/token', { bodyLimit: TOKEN_BODY_MAX_BYTES }, async (request, reply) => {
    const form = formOf(request);
    const origins = ownOrigins(server, gateway);
    const proof = await asOAuth(async () => {
      const sent = proofOf(gateway, request);
      return sent && (await gateway.proofs.check(sent));
    });
    const jkt = proof?.thumbprint;
    const details = authorizationDetails(gateway.chain.view, form.get('authorization_details'));
    const client = clientOf(gateway.peers.peerOf(request.raw));
    const subject = await subjectOf(gateway, form, { origins, client });
    if (proof !== undefined) await asOAuth(() => gateway.proofs.use(proof));
    reply.header('cache-control', 'no-store');
    return {
      access_token: await gateway.tokens.issue({ ...subject, jkt, details }),
      ...(form.get('grant_type') === TOKEN_EXCHANGE && { issued_token_type: ACCESS_TYPE }),
      token_type: jkt === undefined ? 'Bearer' : 'DPoP',
      expires_in: TOKEN_LIFE_SEC,
      ...(details && { authorization_details: details }),
    };
  });

  server.get('/.well-known/jwks.json', async () => gateway.tokens.jwks);

  server.get('/.well-known/oauth-authorization-server', async (request) => {
    const origin = issuerOf(ownOrigins(server, gateway), request);
    return {
      issuer: origin,
      token_endpoint: `${origin}/oauth/token`,
      jwks_uri: `${origin}/.well-known/jwks.json`,
      grant_types_supported: [TOKEN_EXCHANGE, CLIENT_CREDENTIALS],
      response_types_supported: [],
      token_endpoint_auth_methods_supported: ['none', 'private_key_jwt'],
      token_endpoint_auth_signing_alg_values_supported: PROOF_ALGORITHMS,
      dpop_signing_alg_values_supported: PROOF_ALGORITHMS,
      authorization_details_types_supported: [FUNCTION_DETAIL],
    };
  });
}

/**
 * Who requests the token, proven in one of the two ways.
 * @throws DefaasError SIGN_IN_REFUSED
 */
async function subjectOf(
  gateway: Pick<Gateway, 'clientAssertions' | 'signIn'>,
  form: URLSearchParams,
  from: { readonly origins: readonly string[]; readonly client: string },
): Promise<TokenSubject> {
  const grantType = form.get('grant_type');
  if (grantType === TOKEN_EXCHANGE) {
    if (form.get('subject_token_type') !== SIWE_TYPE) {
      throw refused(`subject_token_type must be ${SIWE_TYPE}`);
    }
    const signed = signedMessageIn(form.get('subject_token') ?? '');
    const { subject, lane } = await gateway.signIn.verify(signed, from);
    return { signedBy: subject, lane };
  }
  if (grantType === CLIENT_CREDENTIALS) {
    if (form.get('client_assertion_type') !== ASSERTION_TYPE) {
      throw refused(`client_assertion_type must be ${ASSERTION_TYPE}`, 'invalid_client');
    }
    const audiences = from.origins.flatMap((origin) => [origin, `${origin}/oauth/token`]);
    const assertion = form.get('client_assertion') ?? '';
    const client = await gateway.clientAssertions.verify(assertion, audiences);
    const { payer, signer } = client;
    return { signedBy: undefined, client: clientIdOf(client), lane: { payer, signer } };
  }
  throw refused(
    `grant_type must be ${TOKEN_EXCHANGE} or ${CLIENT_CREDENTIALS}`,
    grantType === null ? 'invalid_request' : 'unsupported_grant_type',
  );
}

/** Parses the body as a form. Repeated parameters are refused (RFC 6749 section 3.2). */
function formOf({ body }: FastifyRequest): URLSearchParams {
  const form = new URLSearchParams(Buffer.isBuffer(body) ? body.toString('utf8') : '');
  const names = [...form.keys()];
  // One pass over the names: a body holds so many that a quadratic check would block the gateway.
  if (new Set(names).size < names.length) throw refused('a parameter came more than once');
  return form;
}

/**
 * Runs a check of the proof that the token shall be bound to.
 * @throws DefaasError SIGN_IN_REFUSED  with the error code of RFC 9449
 */
async function asOAuth<Value>(check: () => Promise<Value>): Promise<Value> {
  try {
    return await check();
  } catch (error) {
    if (error instanceof DefaasError) throw refused(error.message, 'invalid_dpop_proof');
    throw error;
  }
}

/** The one of our origins that the client used (RFC 8414 section 3.3), never any other host. */
function issuerOf(origins: readonly string[], request: FastifyRequest): string {
  const used = origins.find((origin) => new URL(origin).host === request.host);
  return used ?? origins[0] ?? `${request.protocol}://localhost`;
}

/** Decodes base64url of `{"message", "signature"}`. */
function signedMessageIn(text: string): SignedMessage {
  try {
    const { message, signature } = JSON.parse(Buffer.from(text, 'base64url').toString('utf8'));
    if (typeof message === 'string' && isHex(signature)) {
      return { message, signature };
    }
  } catch {
    // Not base64url or not JSON: fall through to the error below.
  }
  throw refused('subject_token must be base64url of {"message", "signature"}');
}

function isHex(value: unknown): value is Hex {
  return typeof value === 'string' && /^0x[0-9a-f]+$/i.test(value);
}

/** An error that carries OAuth's error code (RFC 6749 section 5.2) besides ours. */
function refused(why: string, error = 'invalid_request'): DefaasError {
  return new DefaasError('SIGN_IN_REFUSED', `sign-in: ${why}`, {
    members: { error, error_description: why },
  });
}
