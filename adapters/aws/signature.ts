// AWS Signature Version 4 for the hot path. The key of the day is cached. The one HMAC of a call is
// two one-shot hashes: they leave no native object to collect (createHmac costs 20 us more).
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

import { createHmac, hash } from 'node:crypto';

export interface AwsCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  readonly expiration?: Date;
}

export interface RequestToSign {
  readonly method: string;
  /** The percent-encoded path as it is sent, without the query. */
  readonly path: string;
  /** The query as it is sent, without `?`. */
  readonly query: string;
  /**
   * The headers to sign, each name followed by its value. Names are lower-case and in ascending
   * order, values are trimmed. `host` and `x-amz-date` are among them.
   */
  readonly headers: readonly string[];
  /** Hex of the SHA-256 of the body. */
  readonly bodyHash: string;
  /** `YYYYMMDDTHHMMSSZ`, the value of `x-amz-date`. */
  readonly date: string;
}

/** Signs for one service in one region. @returns the value of the `authorization` header */
export function createSigner(
  region: string,
  service: string,
): (request: RequestToSign, credentials: AwsCredentials) => string {
  let key: HmacKey | undefined;
  /** The inputs of `key`. It changes once a day and with the credentials. */
  let keyDay = '';
  let keySecret = '';

  function keyOf(day: string, secret: string): HmacKey {
    if (key && keyDay === day && keySecret === secret) return key;
    const parts = [day, region, service, 'aws4_request'];
    const bytes = parts.reduce(
      (current, part) => createHmac('sha256', current).update(part).digest(),
      Buffer.from(`AWS4${secret}`),
    );
    key = prepare(bytes);
    keyDay = day;
    keySecret = secret;
    return key;
  }

  return (request, { accessKeyId, secretAccessKey }) => {
    const { date } = request;
    const day = date.slice(0, 8);
    const scope = `${day}/${region}/${service}/aws4_request`;

    let headerLines = '';
    let names = '';
    const { headers } = request;
    for (let at = 0; at < headers.length; at += 2) {
      headerLines += `${headers[at]}:${headers[at + 1]}\n`;
      names += at === 0 ? headers[at] : `;${headers[at]}`;
    }
    const canonical = `${request.method}\n${canonicalPath(request.path)}\n${canonicalQuery(request.query)}\n${headerLines}\n${names}\n${request.bodyHash}`;
    const text = `AWS4-HMAC-SHA256\n${date}\n${scope}\n${hash('sha256', canonical, 'hex')}`;
    const signature = hmacHex(keyOf(day, secretAccessKey), text);
    return `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${names}, Signature=${signature}`;
  };
}

/** A key padded to a block of SHA-256 and combined with both pads (RFC 2104 section 2). */
interface HmacKey {
  /** The inner block, then room for a message. */
  readonly inner: Buffer;
  /** The outer block, then room for the inner hash. */
  readonly outer: Buffer;
}

const BLOCK_BYTES = 64;
const HASH_BYTES = 32;
/** Longer than any string to sign, which is a time, a scope and a hash. */
const MAX_TEXT_BYTES = 1024;

function prepare(key: Buffer): HmacKey {
  const inner = Buffer.alloc(BLOCK_BYTES + MAX_TEXT_BYTES, 0x36);
  const outer = Buffer.alloc(BLOCK_BYTES + HASH_BYTES, 0x5c);
  for (const [at, byte] of key.entries()) {
    inner.writeUInt8(byte ^ 0x36, at);
    outer.writeUInt8(byte ^ 0x5c, at);
  }
  return { inner, outer };
}

/** HMAC-SHA-256 of an ASCII text, in hex. @throws RangeError the text is too long */
function hmacHex({ inner, outer }: HmacKey, text: string): string {
  if (text.length > MAX_TEXT_BYTES) throw new RangeError(`${text.length} characters to sign`);
  const bytes = inner.write(text, BLOCK_BYTES, 'latin1');
  const innerHash = hash('sha256', inner.subarray(0, BLOCK_BYTES + bytes), 'binary');
  outer.write(innerHash, BLOCK_BYTES, 'binary');
  return hash('sha256', outer, 'hex');
}

/** A Unix time in milliseconds as `YYYYMMDDTHHMMSSZ`. */
export function amzDate(nowMs: number): string {
  const iso = new Date(nowMs).toISOString();
  return `${iso.slice(0, 4)}${iso.slice(5, 7)}${iso.slice(8, 13)}${iso.slice(14, 16)}${iso.slice(17, 19)}Z`;
}

/** Encodes each segment a second time, as every service but S3 wants it. */
function canonicalPath(path: string): string {
  return /[^A-Za-z0-9\-._~/]/.test(path) ? path.split('/').map(encode).join('/') : path;
}

/** Sorts by name, then by value, and encodes both. A single plain pair needs neither. */
function canonicalQuery(query: string): string {
  if (/^(?:[\w\-.~]+=[\w\-.~]*)?$/.test(query)) return query;
  const pairs = query.split('&').map((pair) => {
    const at = pair.indexOf('=');
    const [name, value] = at < 0 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)];
    return [encode(decodeURIComponent(name)), encode(decodeURIComponent(value))] as const;
  });
  pairs.sort(([a, x], [b, y]) => compare(a, b) || compare(x, y));
  return pairs.map(([name, value]) => `${name}=${value}`).join('&');
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** Percent-encodes all but the unreserved characters of RFC 3986. */
function encode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
