// Evidence on this machine: one file per exhibit in $DEFAAS_HOME/evidence, readable by its owner,
// and files that others made.
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DefaasClientError } from '../../broker/client/errors.ts';
import {
  type EvidenceFile,
  formatEvidence,
  MAX_EVIDENCE_LENGTH,
  parseEvidence,
} from '../../broker/client/evidence.ts';
import { evidenceName } from '../../broker/client/exhibits.ts';

/** Most files of the folder that are read. */
const MAX_FILES = 10_000;

export function evidenceFolder(home: string): string {
  return join(home, 'evidence');
}

/** Writes a file, and replaces an older one of the same exhibit. @returns the path */
export function writeEvidence(folder: string, file: EvidenceFile): string {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, `${evidenceName(file.exhibit)}.json`);
  writeFileSync(path, formatEvidence(file), { mode: 0o600 });
  return path;
}

/** @throws DefaasClientError EVIDENCE_INVALID; FILE_UNREADABLE */
export function readEvidence(path: string): EvidenceFile {
  const { size } = statSync(path);
  if (size <= 4 * MAX_EVIDENCE_LENGTH) {
    try {
      return parseEvidence(readFileSync(path, 'utf8'));
    } catch (error) {
      if (!(error instanceof DefaasClientError)) throw error;
      throw new DefaasClientError(error.code, `${error.message}, on ${path}`, { cause: error });
    }
  }
  throw new DefaasClientError(
    'EVIDENCE_INVALID',
    `${path} has ${size} bytes, evidence has less; ask whoever made it for another copy`,
  );
}

/** Reads all evidence in the folder and skips files that are no evidence. */
export function readEvidenceFolder(folder: string): readonly EvidenceFile[] {
  return namesIn(folder).flatMap((name) => {
    try {
      return [readEvidence(join(folder, name))];
    } catch (error) {
      if (error instanceof DefaasClientError) return [];
      throw error;
    }
  });
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith('.json'))
      .slice(0, MAX_FILES);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}
