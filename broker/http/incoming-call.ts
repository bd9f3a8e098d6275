// What a call of a function is read from and answered to, whoever has parsed it: Node's HTTP
// server, or the plain lane before it.
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { SMALL_BODY_BYTES } from '../../adapters/http/message.ts';
import { readBody } from './body.ts';
import type { SlowClients } from './slow-clients.ts';

/** What stands before a request's body. */
export interface RequestHead {
  readonly method?: string | undefined;
  /** Path and query as they came. */
  readonly url?: string | undefined;
  /** By lower-case name. */
  readonly headers: IncomingHttpHeaders;
  /**
   * Names, in any case, and values in turn; in the order in which they came, each line by itself.
   */
  readonly rawHeaders: readonly string[];
}

/** The header of a call's nonce, 32 bytes in hex: another with each call, so it is read apart. */
export const NONCE_HEADER = 'defaas-nonce';

/** A request whose head has been read: its body, and how it is answered. */
export interface IncomingCall {
  /** Its nonce, where the rest of its head has been read before; else the head says it. */
  readonly nonce: string | undefined;
  /** The caller has gone: nobody reads a reply. */
  readonly isGone: boolean;
  /**
   * The whole body, at once where it is there.
   * @throws DefaasError BODY_TOO_LARGE, REQUEST_INVALID
   */
  body(): Promise<Uint8Array> | Uint8Array;
  /**
   * Answers it, once; `headers` are names and values in turn, without a length.
   * @throws TypeError  a name or value that is no header (RFC 9110 section 5); nothing is sent then
   */
  reply(status: number, headers: readonly string[], body: Uint8Array): void;
  /** Breaks the connection. */
  destroy(): void;
}

/** Replies that have no body and no length of one (RFC 9110 section 8.6). */
export const BODYLESS: ReadonlySet<number> = new Set([204, 304]);

interface CallOptions {
  readonly slowClients: SlowClients;
  /** Of a body. */
  readonly maxBytes: number;
}

/** A call that came through Node's server. */
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
    reply: (status, replyHeaders, body) => {
      if (BODYLESS.has(status)) {
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
