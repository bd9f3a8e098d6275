// A function call independent of its parser: Node's HTTP server, or the plain lane in front of it.
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { SMALL_BODY_BYTES } from '../../adapters/http/message.ts';
import { readBody } from './body.ts';
import type { SlowClients } from './slow-clients.ts';

/** A request without its body. */
export interface RequestHead {
  readonly method?: string | undefined;
  /** Path and query, unchanged. */
  readonly url?: string | undefined;
  /** Values by lower-case name. */
  readonly headers: IncomingHttpHeaders;
  /**
   * Alternating names and values, in the order received; names in any case, repeated headers not
   * joined.
   */
  readonly rawHeaders: readonly string[];
  /** The connection that it came on. */
  readonly socket: { readonly remoteAddress?: string | undefined };
}

/**
 * The header of a call's nonce, 32 bytes in hex. It differs in each call, so it is read separately
 * from the cached head.
 */
export const NONCE_HEADER = 'defaas-nonce';

/** A request whose head has been read: gives its body and takes the reply. */
export interface IncomingCall {
  /** The nonce, if the rest of the head came from the cache; otherwise read it from the head. */
  readonly nonce: string | undefined;
  /** The caller has disconnected; nobody reads a reply. */
  readonly isGone: boolean;
  /**
   * Reads the whole body; returns synchronously if it is already there.
   * @throws DefaasError BODY_TOO_LARGE, REQUEST_INVALID
   */
  body(): Promise<Uint8Array> | Uint8Array;
  /**
   * Sends the reply, once. `headers` are alternating names and values, without a content length.
   * @throws TypeError  an invalid header name or value (RFC 9110 section 5); nothing is sent then
   */
  reply(status: number, headers: readonly string[], body: Uint8Array): void;
  /** Closes the connection. */
  destroy(): void;
}

/** Status codes of replies without body and content length (RFC 9110 section 8.6). */
export const BODYLESS: ReadonlySet<number> = new Set([204, 304]);
/** Reset Content: has no body either, but a length, of 0 (RFC 9110 section 15.3.6). */
export const RESET_CONTENT = 205;

const NO_BODY = new Uint8Array();

interface CallOptions {
  readonly slowClients: SlowClients;
  /** Maximum size of a body, bytes. */
  readonly maxBytes: number;
}

/** Wraps a call that came through Node's server. */
export function incomingCall(
  request: IncomingMessage,
  response: ServerResponse,
  options: CallOptions,
): IncomingCall {
  return {
    nonce: undefined,
    get isGone() {
      return response.destroyed;
    },
    body: () => readBody(request, options),
    reply: (status, replyHeaders, whole) => {
      if (BODYLESS.has(status)) {
        response.writeHead(status, [...replyHeaders]).end();
        return;
      }
      const body = status === RESET_CONTENT ? NO_BODY : whole;
      if (request.method === 'HEAD' && body.length === 0) {
        // The length would have to be that of the answer to GET (RFC 9110 section 8.6).
        response.writeHead(status, [...replyHeaders]).end();
        return;
      }
      response.writeHead(status, [...replyHeaders, 'content-length', String(body.length)]);
      if (body.length <= SMALL_BODY_BYTES) response.end(bytesToLatin1(body), 'latin1');
      else response.end(body);
      options.slowClients.awaitReader(response);
    },
    destroy: () => void response.destroy(),
  };
}

function bytesToLatin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}
