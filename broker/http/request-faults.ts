// What a server must refuse by RFC 9110 and RFC 9112 and Node's parser lets pass. The fast path
// leaves each such request to Node's server.
import type { IncomingMessage } from 'node:http';
import { DefaasError } from '../errors.ts';

/** The value of a Host header: a name or an address, and a port (RFC 9112 section 3.2). */
export const HOST = /^(?:[\w.~!$&'()*+,;=%-]+|\[[\da-f:.]+\])(?::\d*)?$/i;
/** RFC 9112 section 3.2.2: a client that takes the gateway for a proxy. */
const ABSOLUTE = /^https?:\/\/([^/?]*)(.*)$/i;
/** A request line with a method that Node's parser does not know. */
const OTHER_METHOD = /^[!#$%&'*+\-.^_`|~\dA-Za-z]+ \S+ HTTP\/1\.[01]\r\n/;

/** Rewrites an absolute target to its path; its authority takes the place of `Host`. */
export function toOriginForm(request: IncomingMessage): void {
  const [, authority, target] = ABSOLUTE.exec(request.url ?? '') ?? [];
  if (authority === undefined || target === undefined) return;
  request.headers.host = authority;
  request.url = target.startsWith('/') ? target : `/${target}`;
}

/** Refusal of a head that Node has read; undefined if it may be served. */
export function faultIn(request: IncomingMessage): DefaasError | undefined {
  const { httpVersion, headers, method } = request;
  if (httpVersion !== '1.1' && httpVersion !== '1.0') {
    return new DefaasError('HTTP_VERSION', `HTTP/${httpVersion} is not served, send HTTP/1.1`);
  }
  const encoding = headers['transfer-encoding'];
  if (encoding !== undefined) {
    // RFC 9112 section 6.1: such a message may have another end for another server.
    if (httpVersion === '1.0') return invalid('HTTP/1.0 has no Transfer-Encoding');
    if (!/(?:^|[ \t,])chunked$/i.test(encoding)) return invalid('the body’s end is not chunked');
    if (encoding.length > 'chunked'.length) {
      return new DefaasError(
        'HTTP_UNSUPPORTED',
        `a body cannot be sent as ${encoding.slice(0, 100)}, send it chunked or with a length`,
      );
    }
  }
  const { hosts, host = '' } = hostsIn(request);
  if (hosts > 1) return invalid(`Host came ${hosts} times, send it once`);
  if (hosts === 0 && httpVersion === '1.0') return undefined;
  if (hosts === 0 || !HOST.test(host))
    return invalid('Host is missing or names no host, send the one of the URL');
  if (method === 'TRACE') return unsupported('TRACE');
  return undefined;
}

/** Refusal of bytes that Node's parser takes for no request. */
export function faultOf(error: Error & { code?: string; rawPacket?: unknown }): DefaasError {
  const { code = '', rawPacket } = error;
  if (code === 'HPE_HEADER_OVERFLOW') {
    return new DefaasError('HEAD_TOO_LARGE', 'the head of the request is too large, send less');
  }
  if (code === 'HPE_CHUNK_EXTENSIONS_OVERFLOW') {
    return new DefaasError('BODY_TOO_LARGE', 'the chunk extensions are too large, send none');
  }
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    return new DefaasError('REQUEST_TIMEOUT', 'the request did not come in time, send it again');
  }
  if (code === 'HPE_INVALID_METHOD' && Buffer.isBuffer(rawPacket)) {
    const head = rawPacket.toString('latin1', 0, 1024);
    if (OTHER_METHOD.test(head)) {
      return new DefaasError('HTTP_UNSUPPORTED', 'the method is not known, use one of RFC 9110');
    }
  }
  return invalid('the request is not HTTP/1.1; percent-encode what is not ASCII in its URL');
}

/** A method that no address has. */
export function unsupported(method: string): DefaasError {
  return new DefaasError('HTTP_UNSUPPORTED', `${method} is not for any address here`);
}

function invalid(message: string): DefaasError {
  return new DefaasError('REQUEST_INVALID', message);
}

/** Node keeps the first of several Host lines only. */
function hostsIn({ headers, rawHeaders }: IncomingMessage) {
  let hosts = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    if (rawHeaders[at]?.length === 4 && rawHeaders[at]?.toLowerCase() === 'host') hosts += 1;
  }
  return { hosts, host: headers.host };
}
