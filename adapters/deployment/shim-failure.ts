// Reads a shim's document of a failed call. The publisher's code shares the shim's process and can
// forge the document, so every member is checked.
import type { FunctionFailure } from '../provider.ts';

const KINDS = ['thrown', 'timeout', 'exit', 'init', 'too-large'] as const;
/** Longest type and longest message that the gateway passes on, characters. */
const MAX_TEXT_LENGTH = 256;

/**
 * The failure in the shim's document, which is JSON of `{ kind, type, message }`. A document of
 * another form is a failure too.
 */
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
