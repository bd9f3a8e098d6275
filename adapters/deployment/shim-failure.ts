// What a shim says of a failed call. It shares a process with the publisher's code, so it is taken with care.
import type { FunctionFailure } from '../provider.ts';

const KINDS = ['thrown', 'timeout', 'exit', 'init', 'too-large'] as const;
/** Of a type and of a message, characters: the gateway passes on no more. */
const MAX_TEXT_LENGTH = 256;

/** The failure in the shim's document, `{ kind, type, message }` as JSON; of what is none, that something failed. */
export function failureIn(document: Uint8Array): FunctionFailure {
  try {
    const { kind, type, message } = JSON.parse(Buffer.from(document).toString());
    return {
      kind: KINDS.find((known) => known === kind) ?? 'thrown',
      type: String(type).slice(0, MAX_TEXT_LENGTH),
      message: String(message).slice(0, MAX_TEXT_LENGTH),
    };
  } catch {
    // Not the shim's JSON: that there is one is what counts.
    return { kind: 'thrown', type: 'Error', message: 'the function failed without saying how' };
  }
}
