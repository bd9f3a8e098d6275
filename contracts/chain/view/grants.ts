// Who may call which function: grants, epochs and policies from Identity's events, with the
// functions and their owners.

import type { Address } from '../../libraries/keccak.ts';
import { inner, type Replay, toAddress } from '../replay.ts';
import type { ChainView, Grant } from '../types.ts';
import type { History } from './history.ts';

type Grants = Pick<ChainView, 'isAllowed' | 'grant' | 'grants'>;

interface GrantsOptions {
  readonly history: History;
  readonly functions: Pick<ChainView, 'versionByHash' | 'functionById'>;
  readonly nowSec: () => number;
}

export function createGrants(options: GrantsOptions): { queries: Grants; replay: Replay } {
  const { history, functions, nowSec } = options;
  const grants = new Map<bigint, Map<Address, Grant>>();
  const epochs = new Map<bigint, number>();

  const replay: Replay = {
    identity: {
      Granted: ({ functionId, subject, expiry, scopes, epoch }) => {
        const terms = { expirySec: Number(expiry), scopes: Number(scopes), epoch: Number(epoch) };
        history.set(inner(grants, functionId), toAddress(subject), terms);
      },
      GrantRevoked: ({ functionId, subject }) => {
        const none = { expirySec: 0, scopes: 0, epoch: 0 };
        history.set(inner(grants, functionId), toAddress(subject), none);
      },
      EpochRaised: ({ functionId, epoch }) => history.set(epochs, functionId, Number(epoch)),
    },
  };

  const isInForce = (functionId: bigint, { epoch, expirySec }: Grant): boolean =>
    epoch === (epochs.get(functionId) ?? 0) && expirySec > nowSec();

  const queries: Grants = {
    grant: (functionId, subject) => grants.get(functionId)?.get(subject),
    grants: (functionId) =>
      new Map([...(grants.get(functionId) ?? [])].filter(([, one]) => isInForce(functionId, one))),
    isAllowed: (functionVersion, subject, scopes) => {
      const version = functions.versionByHash(functionVersion);
      if (version === undefined) return false;
      if (version.accessMode === 0) return true;
      if (version.accessMode === 2) return undefined;
      const { functionId } = version;
      if (functions.functionById(functionId)?.owner === subject) return true;
      const grant = grants.get(functionId)?.get(subject);
      return (
        grant !== undefined && isInForce(functionId, grant) && (grant.scopes & scopes) === scopes
      );
    },
  };
  return { queries, replay };
}
