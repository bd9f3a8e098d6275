// The CloudEvents edge (1.0.2, HTTP binding). Strict: nothing is added or repaired. An event is
// accepted unchanged or refused with the attribute's name. Body and headers go to the function
// unchanged.
import { createHash } from 'node:crypto';
import { DefaasError } from '../errors.ts';
import type { Headers } from '../invocation/invocation.ts';
import { jsonFault } from './json-members.ts';

/** Maximum nesting of a structured event. */
const MAX_DEPTH = 64;
/** Maximum number of attributes of an event. */
const MAX_ATTRIBUTES = 256;
/** The members of an event are its attributes and its data. */
const BOUNDS = { maxDepth: MAX_DEPTH, maxMembers: MAX_ATTRIBUTES + 1 } as const;
const REQUIRED = ['specversion', 'id', 'source', 'type'] as const;
/** Attributes of the specification: all are strings in JSON too. Extensions may be other types. */
const STRINGS = new Set<string>([
  ...REQUIRED,
  ...['datacontenttype', 'dataschema', 'subject', 'time'],
]);
const JSON_TYPE = /^[^/]+\/(?:[^+]*\+)?json$/;
/** The required attribute whose header marks binary mode. */
const SPECVERSION = 'ce-specversion';
const EVENT_TYPES = 'application/cloudevents';
const ATTRIBUTE_NAME = /^[a-z0-9]+$/;
const RFC3339 =
  /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/i;
const ABSOLUTE_URI = /^[a-z][a-z0-9+.-]*:[^\s<>"{}|\\^`]+$/i;
const URI_REFERENCE = /^[^\s<>"{}|\\^`]+$/;
/**
 * A quoted header value: any characters except quotes and backslashes, or a backslash followed by
 * any character.
 */
const QUOTED = /^"((?:[^"\\]|\\.)*)"$/s;

/** Context attributes by name, as canonical strings. `source` + `id` is the event's identity. */
export type EventAttributes = Readonly<Record<string, string>> & {
  readonly specversion: '1.0';
  readonly id: string;
  readonly source: string;
  readonly type: string;
};

export interface CloudEvent {
  readonly attributes: EventAttributes;
  /**
   * SHA-256 over the attributes and the data, hex: the same in binary and in structured mode,
   * whatever other headers came along. JSON data counts by its value, not by its spelling.
   */
  readonly digest: string;
}

/**
 * The event in a request; undefined if there is none. `ce-specversion` marks binary mode.
 * @throws DefaasError EVENT_INVALID           an attribute or the JSON is not as CloudEvents 1.0.2
 *   wants it
 * @throws DefaasError MEDIA_TYPE_UNSUPPORTED  a batch, another `application/cloudevents…` type, or
 *   a charset other than UTF-8
 */
export function eventOf(headers: Headers, body: Uint8Array): CloudEvent | undefined {
  if (!mayBeEvent(headers)) return undefined;
  const contentType = contentTypeOf(headers);
  const [mediaType = '', ...parameters] = contentType.split(';').map((part) => part.trim());
  if (mediaType === 'application/cloudevents+json') {
    refuseCharset(parameters);
    return structuredEvent(body);
  }
  if (mediaType.startsWith(EVENT_TYPES)) {
    throw new DefaasError(
      'MEDIA_TYPE_UNSUPPORTED',
      `${mediaType} is not taken here, send one event, binary or as application/cloudevents+json`,
    );
  }
  return binaryEvent(headers, body);
}

/**
 * A cheap test, false for nearly all calls: false means that the request is no event, whatever its
 * body.
 */
export function mayBeEvent(headers: Headers): boolean {
  return (
    headers.some(([name]) => name === SPECVERSION) || contentTypeOf(headers).includes(EVENT_TYPES)
  );
}

/** The first non-empty content type, in lower case. */
function contentTypeOf(headers: Headers): string {
  const line = headers.find(([name, value]) => name === 'content-type' && value !== '');
  return line?.[1].toLowerCase() ?? '';
}

function binaryEvent(headers: Headers, body: Uint8Array): CloudEvent {
  const attributes = new Map<string, string>();
  for (const [header, value] of headers) {
    if (!header.startsWith('ce-')) continue;
    const name = header.slice(3);
    if (name === 'datacontenttype') throw invalid(name, 'belongs in Content-Type');
    if (attributes.has(name)) throw invalid(name, 'came twice');
    refuseName(name);
    attributes.set(name, headerValue(name, value));
  }
  const type = contentTypeOf(headers);
  const data = isJson(type) ? canonicalJson(body) : body;
  return { attributes: checked(attributes), digest: digestOf(attributes, type, data) };
}

function structuredEvent(body: Uint8Array): CloudEvent {
  const text = utf8(body);
  const fault = jsonFault(text, BOUNDS);
  if (fault !== undefined) throw invalid('the JSON', fault);
  const value = parseJson(text);
  const attributes = new Map<string, string>();
  for (const [name, member] of Object.entries(value)) {
    if (name === 'data' || (name === 'data_base64' && isBase64(member))) continue;
    refuseName(name);
    if (member === null) continue;
    if (STRINGS.has(name) && typeof member !== 'string') throw invalid(name, 'is no string');
    attributes.set(name, canonical(name, member));
  }
  if (Object.hasOwn(value, 'data') && Object.hasOwn(value, 'data_base64')) {
    throw invalid('data', 'stands beside data_base64');
  }
  const type = attributes.get('datacontenttype')?.toLowerCase();
  const { data, data_base64: base64 } = value;
  const hasText = type !== undefined && !isJson(type);
  if (hasText && data !== undefined && data !== null && typeof data !== 'string') {
    throw invalid('data', `is JSON, and datacontenttype says ${type.slice(0, 64)}`);
  }
  const bytes =
    typeof base64 === 'string'
      ? Buffer.from(base64, 'base64')
      : Buffer.from(hasText || data === undefined ? String(data ?? '') : sortedJson(data));
  const isUntyped = type === undefined && data !== undefined;
  const digest = digestOf(attributes, isUntyped ? 'application/json' : (type ?? ''), bytes);
  return { attributes: checked(attributes), digest };
}

function isJson(contentType: string): boolean {
  return JSON_TYPE.test(contentType.split(';', 1)[0]?.trim() ?? '');
}

/** The bytes of the same value in one spelling; the bytes as they are if they are no JSON. */
function canonicalJson(body: Uint8Array): Uint8Array {
  try {
    return Buffer.from(sortedJson(JSON.parse(utf8(body))));
  } catch {
    return body;
  }
}

/** JSON with the members of each object in order. */
function sortedJson(value: unknown): string {
  return JSON.stringify(value, (_, member) =>
    typeof member === 'object' && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
      : member,
  );
}

function digestOf(
  attributes: ReadonlyMap<string, string>,
  contentType: string,
  data: Uint8Array,
): string {
  const named = new Map(attributes).set('datacontenttype', contentType.replaceAll(/\s/g, ''));
  const entries = [...named].sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(entries)).update(data).digest('hex');
}

/** `data` has the form of a name but is reserved (CloudEvents 1.0.2, "Naming Conventions"). */
function refuseName(name: string): void {
  if (ATTRIBUTE_NAME.test(name) && name !== 'data') return;
  throw invalid(name, 'is no attribute name (a-z, 0-9, not data)');
}

/** Removes quotes, then applies exactly one round of percent-decoding (HTTP binding 3.1.3.2). */
function headerValue(name: string, value: string): string {
  // Node decodes header bytes as latin1; raw bytes above 0x7e are not allowed unencoded.
  const unquoted = QUOTED.exec(value)?.[1]?.replace(/\\(.)/gs, '$1') ?? value;
  if (/[^\x20-\x7e]/.test(unquoted)) throw invalid(name, 'has bytes that must be percent-encoded');
  try {
    return decodeURIComponent(unquoted);
  } catch {
    throw invalid(name, 'is not percent-encoded UTF-8');
  }
}

function canonical(name: string, value: unknown): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'boolean') return String(value);
  const isInteger = Number.isInteger(value) && Math.abs(Number(value) + 0.5) < 2 ** 31;
  if (isInteger) return String(value);
  throw invalid(name, 'is no string, boolean or 32-bit integer');
}

function checked(attributes: ReadonlyMap<string, string>): EventAttributes {
  if (attributes.size > MAX_ATTRIBUTES) {
    throw invalid('the event', `has more than ${MAX_ATTRIBUTES} attributes`);
  }
  for (const [name, value] of attributes) {
    if (hasForbiddenCharacter(value)) throw invalid(name, 'has a forbidden character');
  }
  const [specversion, id, source, type] = REQUIRED.map((name) => {
    const value = attributes.get(name);
    if (!value) throw invalid(name, 'is missing or empty');
    return value;
  });
  const time = attributes.get('time');
  const dataschema = attributes.get('dataschema');
  if (specversion !== '1.0') throw invalid('specversion', 'is not 1.0');
  if (!URI_REFERENCE.test(source ?? '')) throw invalid('source', 'is no URI-reference');
  if (time !== undefined && !isTime(time)) throw invalid('time', 'is not RFC 3339');
  if (dataschema !== undefined && !ABSOLUTE_URI.test(dataschema)) {
    throw invalid('dataschema', 'is no absolute URI');
  }
  if (attributes.get('subject') === '') throw invalid('subject', 'is empty');
  const all = Object.fromEntries(attributes);
  return { ...all, specversion, id: id ?? '', source: source ?? '', type: type ?? '' };
}

/** A timestamp of a day that exists. The pattern alone takes 30 February. */
function isTime(text: string): boolean {
  if (!RFC3339.test(text)) return false;
  const day = new Date(`${text.slice(0, 10)}T00:00:00Z`);
  return day.toISOString().startsWith(text.slice(0, 10));
}

/** Control characters, noncharacters and lone surrogates (CloudEvents 1.0.2, "String"). */
function hasForbiddenCharacter(text: string): boolean {
  for (const character of text) {
    const point = character.codePointAt(0) ?? 0;
    const isControl = point < 0x20 || (point >= 0x7f && point < 0xa0);
    const isNonCharacter = (point & 0xfffe) === 0xfffe || (point >= 0xfdd0 && point <= 0xfdef);
    const isLoneSurrogate = point >= 0xd800 && point <= 0xdfff;
    if (isControl || isNonCharacter || isLoneSurrogate) return true;
  }
  return false;
}

function refuseCharset(parameters: readonly string[]): void {
  const charset = parameters.find((parameter) => parameter.startsWith('charset='));
  if (charset === undefined || /^charset="?utf-?8"?$/.test(charset)) return;
  throw new DefaasError('MEDIA_TYPE_UNSUPPORTED', `${charset} is not taken, send UTF-8`);
}

function utf8(body: Uint8Array): string {
  if (body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf) {
    throw invalid('the JSON', 'begins with a byte-order mark');
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(body);
  } catch {
    throw invalid('the JSON', 'is not UTF-8');
  }
}

function parseJson(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value };
  } catch {
    // Not JSON: the same error as for JSON that is not an object.
  }
  throw invalid('the body', 'is no JSON object');
}

/**
 * No groups in the pattern: each repetition of a group takes stack, and data may be megabytes long.
 */
function isBase64(value: unknown): boolean {
  const isValid =
    value === null ||
    (typeof value === 'string' && value.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(value));
  if (!isValid) throw invalid('data_base64', 'is not base64');
  return true;
}

function invalid(attribute: string, why: string): DefaasError {
  return new DefaasError(
    'EVENT_INVALID',
    `the CloudEvent is refused: ${attribute.slice(0, 64)} ${why}`,
    {
      members: { attribute: attribute.slice(0, 64) },
    },
  );
}
