// Verifies AWS Signature Version 4 as the Lambda emulator's front does: nothing runs and nothing is read without it.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

import { createHmac, createSecretKey, hash, type KeyObject, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { AwsError } from './errors.ts';

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

/** Largest difference between the signer's clock and ours. */
const MAX_SKEW_MS = 5 * 60 * 1000;

export type Verify = (request: SignedRequest) => void | Promise<void>;

/** @returns a function that throws AwsError 403 unless the request is signed with the credentials for this region */
export function createVerifier(options: {
  readonly credentials: Credentials;
  readonly region: string;
  /** As the credential's scope names it. */
  readonly service: string;
  readonly nowMs: () => number;
}): (request: SignedRequest) => void {
  const { credentials, region, service, nowMs } = options;
  const keys = new Map<string, KeyObject>();

  function keyOf(date: string): KeyObject {
    const known = keys.get(date);
    if (known) return known;
    // One key a day.
    keys.clear();
    const parts = [date, region, service, 'aws4_request'];
    const first = createSecretKey(`AWS4${credentials.secretAccessKey}`, 'utf8');
    const key = parts.reduce((current, part) => createSecretKey(hmac(current, part)), first);
    keys.set(date, key);
    return key;
  }

  return (request) => {
    const { headers } = request;
    const match =
      /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request, *SignedHeaders=([^,]+), *Signature=([0-9a-f]{64})$/.exec(
        headers.authorization ?? '',
      );
    const time = single(headers['x-amz-date']);
    if (!match || !time)
      throw refused('MissingAuthenticationTokenException', 'Missing Authentication Token');
    const [, keyId, date = '', scopeRegion, scopeService, signedHeaders = '', signature = ''] =
      match;
    if (
      keyId !== credentials.accessKeyId ||
      single(headers['x-amz-security-token']) !== (credentials.sessionToken ?? '')
    ) {
      throw refused(
        'UnrecognizedClientException',
        'The security token included in the request is invalid.',
      );
    }

    const names = signedHeaders.split(';');
    checkScope(
      names,
      `${date}/${scopeRegion}/${scopeService}`,
      `${time.slice(0, 8)}/${region}/${service}`,
    );
    checkTime(time, nowMs());

    const bodyHash = hash('sha256', request.body, 'hex');
    const claimed = headers['x-amz-content-sha256'];
    if (claimed !== undefined && claimed !== bodyHash)
      throw badSignature('The body is not the one that was signed.');
    const canonicalHash = hash('sha256', canonicalRequest(request, names, bodyHash), 'hex');
    const text = `AWS4-HMAC-SHA256\n${time}\n${date}/${region}/${service}/aws4_request\n${canonicalHash}`;
    if (!timingSafeEqual(hmac(keyOf(date), text), Buffer.from(signature, 'hex'))) {
      throw badSignature(
        'The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.',
      );
    }
  };
}

/** What the cloud says of credentials past their time. */
export function expiredToken(): AwsError {
  return refused('ExpiredTokenException', 'The security token included in the request is expired');
}

function checkScope(names: readonly string[], given: string, wanted: string): void {
  if (given !== wanted)
    throw badSignature(`Credential should be scoped to ${wanted}, not ${given}.`);
  for (const name of ['host', 'x-amz-date']) {
    if (!names.includes(name)) throw badSignature(`'${name}' must be a signed header.`);
  }
}

function checkTime(time: string, nowMs: number): void {
  const iso = time.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z');
  const skewMs = Math.abs(Date.parse(iso) - nowMs);
  // Written so that a date that does not parse is refused too.
  if (!(skewMs <= MAX_SKEW_MS)) {
    throw badSignature(`Signature expired: ${time} is not within 5 min of the server's time.`);
  }
}

function canonicalRequest(
  request: SignedRequest,
  names: readonly string[],
  bodyHash: string,
): string {
  const [path = '/', query = ''] = splitOnce(request.url, '?');
  const headerLines = names.map((name) => {
    const value = request.headers[name];
    if (value === undefined) throw badSignature(`'${name}' is signed but not sent.`);
    return `${name}:${single(value).trim().replace(/ +/g, ' ')}\n`;
  });
  return [
    request.method,
    // Every service but S3 encodes the path again.
    path.split('/').map(encode).join('/'),
    canonicalQuery(query),
    headerLines.join(''),
    names.join(';'),
    bodyHash,
  ].join('\n');
}

function canonicalQuery(query: string): string {
  if (query === '') return '';
  const pairs = query.split('&').map((pair) => {
    const [name = '', value = ''] = splitOnce(pair, '=');
    return [encode(decode(name)), encode(decode(value))] as const;
  });
  // By name, then by value: not the same as by the joined text.
  pairs.sort(([a, x], [b, y]) => compare(a, b) || compare(x, y));
  return pairs.map((pair) => pair.join('=')).join('&');
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** RFC 3986: all but the unreserved characters. */
function encode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw badSignature('The query is not percent-encoded.');
  }
}

function splitOnce(text: string, separator: string): string[] {
  const at = text.indexOf(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function single(value: string | string[] | undefined): string {
  return Array.isArray(value) ? value.join(',') : (value ?? '');
}

function hmac(key: KeyObject, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

function badSignature(message: string): AwsError {
  return refused('InvalidSignatureException', message);
}

function refused(type: string, message: string): AwsError {
  return new AwsError(403, type, { message });
}
