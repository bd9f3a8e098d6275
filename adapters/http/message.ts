// Header lines of HTTP/1.1 messages (RFC 9112), requests and answers, parsed and written. The
// patterns are strict: they refuse a line that two parsers could read differently.

const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const TEXT = '[\\t\\x20-\\x7e\\x80-\\xff]*';

/** A header name, or a method. */
export const HEADER_NAME = new RegExp(`^${TOKEN}$`);
export const HEADER_VALUE = new RegExp(`^${TEXT}$`);
/** Source of a pattern for header lines, each after a line end. */
export const HEADER_LINES = `(?:\\r\\n${TOKEN}:${TEXT})*`;

/** A body up to this size is copied behind its head, because one write costs half of two. */
export const SMALL_BODY_BYTES = 16 * 1024;

const SPACE = 0x20;
const TAB = 0x09;

/**
 * Lower-case names and values in turn. From the line end at `at` on, `text` must match
 * `HEADER_LINES`.
 */
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

/**
 * Header lines with their line ends, from names and values in turn.
 * @throws TypeError  a name or value is malformed
 */
export function headerText(pairs: readonly string[]): string {
  let text = '';
  for (let i = 0; i + 1 < pairs.length; i += 2) {
    const name = pairs[i] ?? '';
    const value = pairs[i + 1] ?? '';
    if (!HEADER_NAME.test(name) || !HEADER_VALUE.test(value)) {
      throw new TypeError(`no header: ${name}`);
    }
    text += `${name}: ${value}\r\n`;
  }
  return text;
}

/** The buffers to write for head and body: one when the body is small, else two. */
export function piecesOf(head: string, body: Uint8Array): readonly Uint8Array[] {
  if (body.length > SMALL_BODY_BYTES) return [Buffer.from(head, 'latin1'), body];
  const bytes = Buffer.allocUnsafe(head.length + body.length);
  bytes.write(head, 'latin1');
  bytes.set(body, head.length);
  return [bytes];
}

/**
 * Trims spaces and tabs only (RFC 9110 section 5.5). `String.trim` would also trim bytes above
 * 0x7f.
 */
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
