// Sends one request to a Google API that the SDK does not cover: Cloud Logging, Cloud Monitoring.

import type { Sender } from '../http/send.ts';
import { codeOfStatus } from '../http/status.ts';
import { ProviderError } from '../provider.ts';
import { about, controlError, firstLine, sendFailure } from './errors.ts';

export interface ReadParts {
  readonly projectId: string;
  /** Origin of an emulator, which serves all APIs. */
  readonly endpoint: string | undefined;
  readonly send: Sender['send'];
  /** An access token of the control plane. @throws CredentialsError */
  readonly accessToken: () => Promise<string>;
}

export interface ReadRequest {
  readonly operation: 'logs' | 'metrics';
  /** Name of the function. */
  readonly target: string;
  readonly signal: AbortSignal;
  /** Origin of the API, used without an `endpoint`. */
  readonly origin: string;
  readonly path: string;
  /** A request with a body is a POST of its JSON, else it is a GET. */
  readonly body?: object;
  readonly maxBytes: number;
}

export type JsonObject = Readonly<Record<string, unknown>>;

/** @returns the object of the answer, {} when it is none  @throws ProviderError */
export async function read(parts: ReadParts, request: ReadRequest): Promise<JsonObject> {
  const { operation, target, signal, body } = request;
  const token = await parts.accessToken().catch((error: unknown) => {
    throw controlError(error, { operation, target, signal });
  });
  const outbound = {
    origin: parts.endpoint ?? request.origin,
    method: body === undefined ? 'GET' : 'POST',
    path: request.path,
    headers: {
      authorization: `Bearer ${token}`,
      ...(body !== undefined && { 'content-type': 'application/json' }),
    },
    body: body === undefined ? new Uint8Array() : Buffer.from(JSON.stringify(body)),
  };
  const options = { signal, maxResponseBytes: request.maxBytes };
  const answer = await parts.send(outbound, options).catch((error: unknown) => {
    throw sendFailure(error, operation, target);
  });
  const { status } = answer;
  const document = parse(answer.body);
  if (status === 200) return document;
  const { message } = objectOf(document.error);
  const why = typeof message === 'string' ? firstLine(message) : `status ${status}`;
  throw new ProviderError(codeOfStatus(status), `${why}, on ${operation} of ${target}`, {
    ...about(operation, target),
    status,
  });
}

/** The value if it is an object, else {}. */
export function objectOf(value: unknown): JsonObject {
  return typeof value === 'object' && value !== null
    ? Object.fromEntries(Object.entries(value))
    : {};
}

/** The value if it is a list, else []. */
export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function parse(bytes: Buffer): JsonObject {
  try {
    return objectOf(JSON.parse(bytes.toString()));
  } catch {
    // The status decides what the answer means.
    return {};
  }
}
