// The account's lanes that this machine can spend from: those whose key is here, newest first.
import { hasLaneKey, keysFolder } from './account.ts';
import { CliError } from './cli-error.ts';
import type { Opened } from './context.ts';
import type { StoredLane } from './store.ts';

type Known = Pick<Opened, 'account' | 'connection' | 'house' | 'store'>;

/** Skips a lane whose key file is gone: another one may pay. */
export function lanesHere({ account, house, store }: Omit<Known, 'connection'>): StoredLane[] {
  return store.lanes(account.address).filter(({ signer }) => hasLaneKey(house.home, signer));
}

/**
 * Makes the error for a missing lane: LANE_UNKNOWN, or KEY_MISSING if there are lanes whose keys
 * are gone. `what` says what to do.
 */
export function noLane(opened: Known, what: string, cause?: unknown): CliError {
  const { account, connection, house, store } = opened;
  const at = `at gateway ${connection.document.gateway}`;
  const isLost = store.lanes(account.address).length > 0 && lanesHere(opened).length === 0;
  return isLost
    ? new CliError(
        'KEY_MISSING',
        `the keys of account ${account.address} for its lanes ${at} are gone, on ${keysFolder(house.home)}, put them back or ${what}`,
        { cause },
      )
    : new CliError(
        'LANE_UNKNOWN',
        `account ${account.address} has no lane to pay from, ${at}, ${what}`,
        { cause },
      );
}
