// What the answers about plans and apps have in common.

import type { Fault } from '../../emulators/faults.ts';
import type { AzureParts } from './parts.ts';

export interface ArmAnswer {
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface ArmRequest {
  readonly parts: AzureParts;
  /** The names of resources in the path. */
  readonly path: readonly string[];
  readonly url: URL;
  /** The JSON that the client sent, not checked yet. */
  readonly body: unknown;
  readonly fault: Fault | undefined;
}

export function missing(parts: AzureParts, type: string, name: string): ArmAnswer {
  const message = `The Resource 'Microsoft.Web/${type}/${name}' under resource group '${parts.resourceGroup}' was not found.`;
  return failed(404, 'ResourceNotFound', message);
}

export function failed(status: number, code: string, message: string): ArmAnswer {
  return { status, body: { error: { code, message } } };
}

/** The answer with a header about settings that have no effect (RFC 7234 section 5.5, 299). */
export function warn(
  parts: Pick<AzureParts, 'log'>,
  name: string,
  warnings: readonly string[],
  answer: ArmAnswer,
): ArmAnswer {
  if (warnings.length === 0) return answer;
  for (const warning of warnings) parts.log(`ignored: ${name}: ${warning}`);
  const text = warnings.join('; ').replaceAll(/[^\x20-\x7e]|["\\]/g, "'");
  return { ...answer, headers: { ...answer.headers, warning: `299 - "${text}"` } };
}

export function idOf(parts: AzureParts, type: 'sites' | 'serverfarms', name: string): string {
  return `/subscriptions/${parts.subscriptionId}/resourceGroups/${parts.resourceGroup}/providers/Microsoft.Web/${type}/${name}`;
}

/** Azure shows the location `westeurope` as `West Europe`. */
export function displayName(location: string): string {
  const [, place = location, rest = ''] =
    /^(north|south|east|west|central|france|germany|uk|japan|australia|canada|brazil|korea|swiss|sweden|poland|italy|spain|norway|uae)(.+)$/.exec(
      location,
    ) ?? [];
  const capital = (word: string) => word.charAt(0).toUpperCase() + word.slice(1);
  return [place, rest]
    .filter((word) => word !== '')
    .map(capital)
    .join(' ');
}

export function asRecord(value: unknown): Record<string, unknown> {
  const isObject = typeof value === 'object' && value !== null;
  return isObject ? Object.fromEntries(Object.entries(value)) : {};
}

export function asTexts(value: unknown): Record<string, string> {
  return Object.fromEntries(
    Object.entries(asRecord(value)).map(([key, text]) => [key, String(text)]),
  );
}
