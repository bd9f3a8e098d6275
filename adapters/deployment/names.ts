// The name of a deployment, and the hash that shows whether a cloud has the wanted spec.

import { createHash } from 'node:crypto';
import type { DeploymentSpec } from '../provider.ts';
import { sortedPaths } from './zip.ts';

/**
 * Name of the cloud function of one version at one gateway: `df-` and 26 characters of base32,
 * lower case. It is valid on every cloud and unlikely to be taken. `functionId` and `gateway` are
 * opaque texts, `version` counts from 1.
 */
export function deploymentName(of: {
  readonly functionId: string;
  readonly version: number;
  readonly gateway: string;
}): string {
  const text = JSON.stringify([of.functionId, of.version, of.gateway]);
  return `df-${base32(createHash('sha256').update(text).digest()).slice(0, 26)}`;
}

/**
 * Hash of the spec and of the files that the adapter adds: 52 characters of base32, valid in every
 * cloud's tags. Of a secret it covers name and revision, never the value.
 */
export function specHash(spec: DeploymentSpec, shim: ReadonlyMap<string, Uint8Array>): string {
  const { files, secrets, secretRevisions, env, ...rest } = spec;
  const revisions = Object.keys(secrets)
    .sort()
    .map((name) => [name, secretRevisions?.[name] ?? 0]);
  const hash = createHash('sha256');
  const part = (bytes: Uint8Array | string) => {
    const length = typeof bytes === 'string' ? Buffer.byteLength(bytes) : bytes.length;
    hash.update(`${length}:`).update(bytes);
  };

  part(JSON.stringify([sortedEntries(rest), sortedEntries(env), revisions]));
  for (const set of [files, shim]) {
    part(String(set.size));
    for (const path of sortedPaths(set)) {
      part(path);
      part(set.get(path) ?? '');
    }
  }
  return base32(hash.digest());
}

function sortedEntries(record: object): [string, unknown][] {
  return Object.entries(record)
    .filter(([, value]) => value !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

/** RFC 4648 section 6, lower case, without padding. */
function base32(bytes: Uint8Array): string {
  let bits = '';
  for (const byte of bytes) bits += byte.toString(2).padStart(8, '0');
  const groups = bits.match(/.{1,5}/g) ?? [];
  return groups
    .map((group) =>
      'abcdefghijklmnopqrstuvwxyz234567'.charAt(Number.parseInt(group.padEnd(5, '0'), 2)),
    )
    .join('');
}
