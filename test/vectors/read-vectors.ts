// Reads a file of test vectors. Money and other wide integers stand in JSON as decimal strings and
// come back as bigint; an EIP-712 domain's version stays a string.
import { readFileSync } from 'node:fs';

/**
 * `name` without path, such as `receipts.json`. The caller names the file's shape; the files are
 * ours.
 */
export function readVectors<T>(name: string): T {
  const text = readFileSync(new URL(name, import.meta.url), 'utf8');
  return JSON.parse(text, (key, value) =>
    typeof value === 'string' && /^\d+$/.test(value) && key !== 'version' ? BigInt(value) : value,
  ) as T;
}
