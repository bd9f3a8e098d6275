// Handles theft of the operator key. A thief can sign receipts with it, and each costs bond. Once
// such a receipt is seen, this gateway takes no more calls under that key, also after a restart,
// until its operator changes the key.
import { readState, writeWholeSync } from '../../adapters/runtime/whole-file.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import type { Alarms } from '../alarms.ts';
import { DefaasError } from '../errors.ts';
import type { GroupSigner } from './operator-key.ts';

export interface KeyGuard {
  readonly isStolen: boolean;
  /** @throws DefaasError KEY_STOLEN */
  refuseStolen(): void;
  /** Records that a key is stolen; `how` says how that is known. */
  stop(key: Address, how: string): void;
}

export interface KeyGuardOptions {
  /** JSON file of the stolen keys. */
  readonly file: string;
  /** The signer whose key is in use; its key can change later. */
  readonly signer: Pick<GroupSigner, 'key'>;
  readonly alarms: Pick<Alarms, 'raise'>;
}

export function createKeyGuard({ file, signer, alarms }: KeyGuardOptions): KeyGuard {
  const stolen = new Map(readStolen(file));
  const alarm = (of: Address): void => {
    alarms.raise(
      'KEY_STOLEN',
      of,
      `somebody else signs with the operator key ${of} (${stolen.get(of)}), run defaas rotate-key --stolen at once`,
    );
  };
  if (stolen.has(signer.key)) alarm(signer.key);
  return {
    get isStolen() {
      return stolen.has(signer.key);
    },
    refuseStolen: () => {
      if (!stolen.has(signer.key)) return;
      throw new DefaasError(
        'KEY_STOLEN',
        `the gateway's operator key ${signer.key} was stolen, no call is accepted under it, use another gateway`,
      );
    },
    stop: (of, how) => {
      if (!stolen.has(of)) {
        stolen.set(of, how);
        writeWholeSync(file, `${JSON.stringify([...stolen])}\n`);
      }
      alarm(of);
    },
  };
}

/** Only this module writes the file. A missing file means no stolen keys. */
function readStolen(file: string): [Address, string][] {
  return readState<[Address, string][]>(file, STOLEN) ?? [];
}

const STOLEN = {
  what: 'the list of stolen keys',
  isWhole: Array.isArray,
  remedy: 'restore it; if it is removed, keys that were stolen are signed with again',
};
