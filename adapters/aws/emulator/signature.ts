// Verifies AWS Signature Version 4 as the Lambda API does: signs the received request again with
// AWS's own signer and compares. Nothing is parsed and nothing runs before that.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

import { createHash, createHmac, hash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { SignatureV4 } from '@smithy/signature-v4';
import { AwsError } from './model/errors.ts';

export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

export interface SignedRequest {
  readonly method: string;
  /** As on the request line, with its query. */
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Uint8Array;
}

/** Rejects with AwsError 403 unless the request is signed with the credentials for the region. */
export type Verify = (request: SignedRequest) => Promise<void>;

/** The authorization header, taken apart. */
interface Authorization {
  readonly accessKeyId: string;
  /** `YYYYMMDD/region/service`. */
  readonly scope: string;
  readonly signedHeaders: readonly string[];
  /** Hex. */
  readonly signature: string;
}

/** Largest difference between the signer's clock and ours. */
const MAX_SKEW_MS = 5 * 60 * 1000;

export function createVerifier(options: {
  readonly credentials: Credentials;
  readonly region: string;
  /** The service in the scope of the credential, such as `lambda`. */
  readonly service: string;
  readonly nowMs: () => number;
}): Verify {
  const { region, service, nowMs } = options;
  const { accessKeyId, secretAccessKey, sessionToken = '' } = options.credentials;
  const signer = new SignatureV4({
    // Without the session token: the signer would add it to the headers, where it is if signed.
    credentials: { accessKeyId, secretAccessKey },
    region,
    service,
    sha256: Sha256,
    applyChecksum: false,
  });

  return async (request) => {
    const { headers } = request;
    const time = single(headers['x-amz-date']);
    const given = readAuthorization(headers.authorization);
    if (!given || time === '')
      throw refused('MissingAuthenticationTokenException', 'Missing Authentication Token');
    if (
      given.accessKeyId !== accessKeyId ||
      single(headers['x-amz-security-token']) !== sessionToken
    ) {
      const message = 'The security token included in the request is invalid.';
      throw refused('UnrecognizedClientException', message);
    }
    checkScope(given, `${time.slice(0, 8)}/${region}/${service}`);
    checkBody(request);

    const signed = await signer.sign(toSign(request, given.signedHeaders), {
      signingDate: new Date(checkTime(time, nowMs())),
      // The signer leaves some headers out unless they are named here.
      signableHeaders: new Set(given.signedHeaders),
    });
    const expected = readAuthorization(signed.headers.authorization)?.signature ?? '';
    if (!timingSafeEqual(Buffer.from(expected, 'latin1'), Buffer.from(given.signature, 'latin1'))) {
      throw badSignature(
        'The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.',
      );
    }
  };
}

/** The error of the API for credentials that have expired. */
export function expiredToken(): AwsError {
  return refused('ExpiredTokenException', 'The security token included in the request is expired');
}

function readAuthorization(header = ''): Authorization | undefined {
  const match =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8}\/[^/]+\/[^/]+)\/aws4_request, *SignedHeaders=([^,]+), *Signature=([0-9a-f]{64})$/.exec(
      header,
    );
  if (!match) return undefined;
  const [, accessKeyId = '', scope = '', names = '', signature = ''] = match;
  return { accessKeyId, scope, signedHeaders: names.split(';'), signature };
}

function checkScope({ scope, signedHeaders }: Authorization, wanted: string): void {
  if (scope !== wanted)
    throw badSignature(`Credential should be scoped to ${wanted}, not ${scope}.`);
  for (const name of ['host', 'x-amz-date']) {
    if (!signedHeaders.includes(name)) throw badSignature(`'${name}' must be a signed header.`);
  }
}

/** @returns the Unix time in milliseconds */
function checkTime(time: string, nowMs: number): number {
  const iso = time.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z');
  const timeMs = Date.parse(iso);
  // Negated, so that NaN is refused too.
  if (!(Math.abs(timeMs - nowMs) <= MAX_SKEW_MS)) {
    throw badSignature(`Signature expired: ${time} is not within 5 min of the server's time.`);
  }
  return timeMs;
}

/** The signer signs the hash that the header names, so the header must name the body's hash. */
function checkBody({ headers, body }: SignedRequest): void {
  const claimed = headers['x-amz-content-sha256'];
  if (claimed !== undefined && claimed !== hash('sha256', body, 'hex')) {
    throw badSignature('The body is not the one that was signed.');
  }
}

function toSign({ method, url, headers, body }: SignedRequest, names: readonly string[]) {
  const [path, search] = splitOnce(url, '?');
  const signed: Record<string, string> = {};
  for (const name of names) {
    if (!Object.hasOwn(headers, name)) throw badSignature(`'${name}' is signed but not sent.`);
    signed[name] = single(headers[name]);
  }
  const query = queryOf(search);
  return { method, protocol: 'http:', hostname: '', path, query, headers: signed, body };
}

/** Decodes `%` but not `+`: a form's query is not what SigV4 signs. */
function queryOf(search: string): Record<string, string[]> {
  const query: Record<string, string[]> = Object.create(null);
  for (const pair of search === '' ? [] : search.split('&')) {
    const [name, value] = splitOnce(pair, '=').map(decode);
    if (name === undefined || value === undefined) continue;
    query[name] = [...(query[name] ?? []), value];
  }
  return query;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw badSignature('The query is not percent-encoded.');
  }
}

function splitOnce(text: string, separator: string): [before: string, after: string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}

function single(value: string | string[] | undefined): string {
  return Array.isArray(value) ? value.join(',') : (value ?? '');
}

type Source = string | ArrayBuffer | ArrayBufferView;

/** SHA-256, or HMAC-SHA-256 with a secret, in the form that the signer takes. */
class Sha256 {
  readonly #hash;

  constructor(secret?: Source) {
    this.#hash =
      secret === undefined ? createHash('sha256') : createHmac('sha256', bytesOf(secret));
  }

  update(data: Source): void {
    this.#hash.update(bytesOf(data));
  }

  async digest(): Promise<Uint8Array> {
    return this.#hash.digest();
  }
}

function bytesOf(source: Source): Uint8Array {
  if (typeof source === 'string') return Buffer.from(source);
  return ArrayBuffer.isView(source)
    ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
    : new Uint8Array(source);
}

function badSignature(message: string): AwsError {
  return refused('InvalidSignatureException', message);
}

function refused(type: string, message: string): AwsError {
  return new AwsError(403, type, { message });
}
