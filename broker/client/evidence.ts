// Evidence as a file: one exhibit per JSON document, complete enough for its holder to prove it. It
// holds public data only: no salts, no keys, no bodies.
import type { Address } from '../../contracts/libraries/keccak.ts';
import { accused, type Exhibit, fraudName } from './exhibits.ts';
import { hex, object, readExhibit, uint, wrong } from './read-exhibit.ts';

/** Largest evidence file, characters: two opened leaves with paths of 40 nodes are 12 KB. */
export const MAX_EVIDENCE_LENGTH = 64 * 1024;
const VERSION = 1;
const MAX_MESSAGE_LENGTH = 256;

export interface EvidenceFile {
  readonly chainId: number;
  /** Receipts belong to one chain and one Billing. */
  readonly billing: Address;
  readonly gateway: Address;
  /** One line for people; not part of the proof. */
  readonly message: string;
  readonly exhibit: Exhibit;
}

/**
 * The text of a file: JSON of `{ version, chainId, billing, gateway, kind, proof, message, ... }`
 * and the members of the proof; money is decimal text.
 * @example const text = formatEvidence({ chainId, billing, gateway, message, exhibit });
 */
export function formatEvidence({ exhibit, ...file }: EvidenceFile): string {
  const { kind: proof, ...members } = exhibit;
  const { chainId, billing, gateway } = file;
  const message = file.message.slice(0, MAX_MESSAGE_LENGTH);
  const head = { version: VERSION, chainId, billing, gateway, kind: fraudName(proof), proof };
  return `${JSON.stringify(
    { ...head, message, ...members },
    (_, value) => (typeof value === 'bigint' ? `${value}` : value),
    1,
  )}\n`;
}

/**
 * Reads a file that anybody may have written. It checks the form only; whether the exhibit proves
 * anything is decided by the chain (`check`).
 * @example const { exhibit } = parseEvidence(await readFile('evidence/0x1f.json', 'utf8'));
 * @throws EVIDENCE_INVALID naming the first member that is not of its form
 */
export function parseEvidence(text: string): EvidenceFile {
  if (text.length > MAX_EVIDENCE_LENGTH) wrong('it', `at most ${MAX_EVIDENCE_LENGTH} characters`);
  const { version, chainId, billing, gateway, kind, proof, message, ...members } = object(
    parseJson(text),
    'it',
  );
  if (version !== VERSION) wrong('version', `${VERSION}`);
  const exhibit = readExhibit(proof, members);
  const file = {
    chainId: uint(chainId, 53, 'chainId'),
    billing: hex(billing, 20, 'billing'),
    gateway: hex(gateway, 20, 'gateway'),
    message: printable(message),
    exhibit,
  };
  if (kind !== fraudName(exhibit.kind)) wrong('kind', fraudName(exhibit.kind));
  if (accused(exhibit) !== file.gateway) wrong('gateway', 'that of the evidence');
  return file;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return wrong('it', 'JSON');
  }
}

/** A message without control characters: it is shown on terminals. */
function printable(value: unknown): string {
  if (typeof value !== 'string' || value.length > MAX_MESSAGE_LENGTH) {
    return wrong('message', `a text of at most ${MAX_MESSAGE_LENGTH} characters`);
  }
  return value.replaceAll(/\p{C}/gu, ' ');
}
