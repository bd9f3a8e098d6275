// Header lines (RFC 9112 section 5) in the text of a head, of requests and of answers alike. Strict: a line that could be read in two
// ways fits no pattern here.

const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const TEXT = '[\\t\\x20-\\x7e\\x80-\\xff]*';

/** A header's name, or a method. */
export const HEADER_NAME = new RegExp(`^${TOKEN}$`);
export const HEADER_VALUE = new RegExp(`^${TEXT}$`);
/** One line, without its end. */
export const HEADER_LINE = new RegExp(`^${TOKEN}:${TEXT}$`);
/** Of a pattern: lines, each behind its line end. */
export const HEADER_LINES = `(?:\\r\\n${TOKEN}:${TEXT})*`;

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
