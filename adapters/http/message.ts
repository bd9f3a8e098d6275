// The text of HTTP/1.1 messages (RFC 9112), of requests and of answers alike: header lines in and out. Strict: a line that could be
// read in two ways fits no pattern here.

import { memoize } from './memoize.ts';

const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const TEXT = '[\\t\\x20-\\x7e\\x80-\\xff]*';

/** A header's name, or a method. */
export const HEADER_NAME = new RegExp(`^${TOKEN}$`);
export const HEADER_VALUE = new RegExp(`^${TEXT}$`);
/** Names are few, and to look one up costs a third of the pattern (8 and 26 ns). */
const isName = memoize(1_000, (text) => HEADER_NAME.test(text));
/** One line, without its end. */
export const HEADER_LINE = new RegExp(`^${TOKEN}:${TEXT}$`);
/** Of a pattern: lines, each behind its line end. */
export const HEADER_LINES = `(?:\\r\\n${TOKEN}:${TEXT})*`;

/** Up to here a body is copied behind its head: they go out in one write, which costs half of two. */
export const SMALL_BODY_BYTES = 16 * 1024;

const SPACE = 0x20;
const TAB = 0x09;

/** Lower-case names and values in turn; the lines of `text` from the line end at `at` on fit `HEADER_LINES`. */
export function headersIn(text: string, at: number): string[] {
  const headers: string[] = [];
  for (let line = at; line >= 0; ) {
    const colon = text.indexOf(':', line);
    const next = text.indexOf('\r\n', colon);
    const value = trimmed(text, colon + 1, next < 0 ? text.length : next);
    headers.push(text.slice(line + 2, colon).toLowerCase(), value);
    line = next;
  }
  return headers;
}

/** The lines of names and values in turn, each with its end. @throws TypeError  a name or value that is none */
export function headerText(pairs: readonly string[]): string {
  let text = '';
  for (let i = 0; i + 1 < pairs.length; i += 2) {
    const name = pairs[i] ?? '';
    const value = pairs[i + 1] ?? '';
    if (!isName(name) || !HEADER_VALUE.test(value)) {
      throw new TypeError(`no header: ${name}`);
    }
    text += `${name}: ${value}\r\n`;
  }
  return text;
}

/** Head and body as they are written, in one piece where the body is small. */
export function piecesOf(head: string, body: Uint8Array): readonly Uint8Array[] {
  if (body.length > SMALL_BODY_BYTES) return [Buffer.from(head, 'latin1'), body];
  const bytes = Buffer.allocUnsafe(head.length + body.length);
  bytes.write(head, 'latin1');
  bytes.set(body, head.length);
  return [bytes];
}

/** Without the spaces and tabs around it, and without them alone (RFC 9110 section 5.5): `trim` takes bytes above 0x7f too. */
function trimmed(text: string, from: number, to: number): string {
  let begin = from;
  let end = to;
  while (begin < end && isBlank(text.charCodeAt(begin))) begin += 1;
  while (begin < end && isBlank(text.charCodeAt(end - 1))) end -= 1;
  return text.slice(begin, end);
}

function isBlank(code: number): boolean {
  return code === SPACE || code === TAB;
}
