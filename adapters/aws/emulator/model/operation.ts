// What an operation of the emulated API gets and gives, with readers of its JSON fields and pages.

import type { Fault } from '../../../emulators/faults.ts';
import { AwsError, invalidField } from './errors.ts';

export interface OperationRequest {
  /** Name without account or region. The region was checked. */
  readonly functionName: string;
  readonly qualifier: string | undefined;
  /** The parts of the path behind the function, or the layer and its version. */
  readonly item: string;
  readonly subitem: string;
  readonly query: URLSearchParams;
  /** The parsed JSON body, or an empty object. */
  readonly body: Fields;
  readonly fault: Fault | undefined;
}

export interface OperationAnswer {
  readonly status: number;
  readonly body?: unknown;
}

export type Operation = (request: OperationRequest) => OperationAnswer | Promise<OperationAnswer>;

/** Operations by the names of the API. */
export type Operations = Readonly<Record<string, Operation>>;

/** A JSON object of any shape. */
export type Fields = Readonly<Record<string, unknown>>;

/** Most items of one page of a list. */
const MAX_PAGE = 50;

/** @throws AwsError 400 missing, or not a string */
export function text(body: Fields, field: string): string {
  const value = optionalText(body, field);
  if (value !== undefined) return value;
  const name = field.charAt(0).toLowerCase() + field.slice(1);
  throw invalidField('null', name, 'Member must not be null');
}

/** @throws AwsError 400 given, and not a string */
export function optionalText(body: Fields, field: string): string | undefined {
  const value = body[field];
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'string') return value;
  throw new AwsError(400, 'SerializationException', { Message: `${field} is not a string` });
}

/** @throws AwsError 400 given, and not a whole number within the bounds */
export function checkNumber(value: unknown, field: string, min: number, max: number): void {
  if (value === undefined || value === null) return;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min) {
    throw invalidField(value, field, `Member must have value greater than or equal to ${min}`);
  }
  if (value > max)
    throw invalidField(value, field, `Member must have value less than or equal to ${max}`);
}

/** The object in a field, or an empty one. */
export function record(body: Fields, field: string): Record<string, unknown> {
  const value = body[field];
  return isRecord(value) ? value : {};
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function stringsOf(value: Fields): Record<string, string> {
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, String(each)]));
}

/**
 * The items behind the `Marker`, at most `MaxItems`, and the marker of the next page.
 * @throws AwsError 400 `MaxItems` is not within 1 and 10 000
 */
export function page<T>(
  all: readonly T[],
  query: URLSearchParams,
  keyOf: (item: T) => string,
): { items: T[]; next: { NextMarker?: string } } {
  const wanted = Number(query.get('MaxItems') ?? MAX_PAGE);
  if (!(wanted >= 1 && wanted <= 10_000)) {
    throw invalidField(
      query.get('MaxItems'),
      'maxItems',
      'Member must have value between 1 and 10000',
    );
  }
  const marker = query.get('Marker');
  const key = marker === null ? undefined : Buffer.from(marker, 'base64url').toString();
  const start = key === undefined ? 0 : all.findIndex((item) => keyOf(item) === key) + 1;
  const items = all.slice(start, start + Math.min(wanted, MAX_PAGE));
  const last = items.at(-1);
  const isMore = start + items.length < all.length && last !== undefined;
  return {
    items,
    next: isMore ? { NextMarker: Buffer.from(keyOf(last)).toString('base64url') } : {},
  };
}
