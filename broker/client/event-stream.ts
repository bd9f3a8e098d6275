// Server-sent events of a reply: how the gateway reports the steps of a deployment.
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import { DefaasClientError } from './errors.ts';
import { type Json, readObject } from './parse.ts';

/** Longest event, characters. A step or an outcome has a few hundred per cloud. */
const MAX_EVENT_LENGTH = 1024 * 1024;

export interface ServerEvent {
  readonly type: string;
  readonly data: Json;
}

/**
 * Yields the events of a stream, whose data is JSON. A broken connection ends it without an error.
 * @see https://html.spec.whatwg.org/multipage/server-sent-events.html
 * @throws GATEWAY_PROTOCOL the data of an event is no JSON object, or is longer than 1 Mi
 *   characters
 */
export async function* readEvents(reply: Response): AsyncGenerator<ServerEvent> {
  if (!reply.body) return;
  const parsed: EventSourceMessage[] = [];
  let isTooLong = false;
  const parser = createParser({
    maxBufferSize: MAX_EVENT_LENGTH,
    onEvent: (message) => parsed.push(message),
    onError: ({ type }) => {
      // Other errors are unknown fields, which the specification says to ignore.
      isTooLong ||= type === 'max-buffer-size-exceeded';
    },
  });
  for await (const text of readTexts(reply.body)) {
    parser.feed(text);
    for (const message of parsed.splice(0)) yield readEvent(message);
    if (isTooLong) {
      throw new DefaasClientError(
        'GATEWAY_PROTOCOL',
        `an event is longer than ${MAX_EVENT_LENGTH} characters`,
      );
    }
  }
}

/**
 * Yields the text of a body. A broken connection ends it like a normal end: the caller requests the
 * stream again.
 */
async function* readTexts(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch(() => ({ done: true, value: undefined }));
      if (done) return;
      yield decoder.decode(value, { stream: true });
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

function readEvent({ event: type = 'message', data }: EventSourceMessage): ServerEvent {
  try {
    return { type, data: readObject(JSON.parse(data), `event ${type}`) };
  } catch (cause) {
    throw new DefaasClientError('GATEWAY_PROTOCOL', `the event ${type} has no JSON`, { cause });
  }
}
