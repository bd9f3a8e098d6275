// What every command works with: the global flags, and the gateway, account and store that they
// select.
import {
  type Connection,
  connect,
  type GatewayClaim,
  type SetChoice,
} from '../../broker/client/connection.ts';
import { createSession, type Session } from '../../broker/client/session.ts';
import type { LaneName } from '../../broker/client/sign-in.ts';
import type { ContractSet } from '../../contracts/deployments.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { type Account, readAccount } from './account.ts';
import { confirmHome } from './confirm.ts';
import { findHouse, type House, type HouseFlags, locateHome } from './house.ts';
import { type Confirmed, openConfirmed, openStore, type Store } from './store.ts';
import { acceptGateway, namedSet, openTrust, type Trusted } from './trust.ts';
import { asTyped } from './typed.ts';

export interface Flags extends HouseFlags {
  readonly json: boolean;
  /** Role of the active account: the name of its file in $DEFAAS_HOME/keys. */
  readonly account: string;
  /**
   * Id of a set of the trust root. Left out, commands that use only the chain take the current set;
   * the others choose by `chooseSet`.
   */
  readonly set?: string;
}

/** The output of a command: a document for `--json`, text or bytes for people. */
export interface Outcome {
  readonly document: unknown;
  readonly text?: string;
  /** Written to stdout as they are, instead of text. */
  readonly bytes?: Uint8Array;
  /** Shown on stderr as `CODE: message`; the exit code is 1, or the one named here. */
  readonly failure?: {
    readonly code: string;
    readonly message: string;
    readonly exitCode?: number;
  };
}

/** A gateway that was found and identified, with the active account and the store of both. */
export interface Opened {
  readonly house: House;
  readonly account: Account;
  readonly connection: Connection;
  readonly trust: Trusted;
  /** The contracts in use. */
  readonly set: ContractSet;
  readonly store: Store;
  readonly confirmed: Confirmed;
  close(): void;
}

export interface OpenOptions {
  /** Whose key to use in place of the active account's. */
  readonly role?: string;
  /** Accepts revoked contracts too: the command takes money out, or only reads. */
  readonly allowRevoked?: boolean;
}

/**
 * Checks what the gateway says of the chain, the contracts and itself against the trust root,
 * before anything is signed or sent.
 * @throws CliError USAGE no such set, HOUSE_DOWN, KEY_MISSING, RPC_REQUIRED, DEPLOYMENT_MISSING,
 *   DEPLOYMENT_UNCONFIRMED
 * @throws DefaasClientError GATEWAY_UNREACHABLE, DEPLOYMENT_MISMATCH, DEPLOYMENT_REVOKED;
 *   ChainError DEPLOYMENT_CODE, DEPLOYMENT_INVALID
 */
export async function openGateway(flags: Flags, options: OpenOptions = {}): Promise<Opened> {
  await confirmHome(flags, locateHome());
  const house = findHouse(flags);
  const { home, gateway: url } = house;
  const account = readAccount(home, options.role ?? flags.account);
  const confirmed = openConfirmed(home);
  try {
    const trust = await openTrust(flags, house, confirmed);
    const { allowRevoked = false } = options;
    const accept = (claim: GatewayClaim) =>
      acceptGateway(flags, { home, chainId: trust.chainId }, confirmed, claim);
    const named = flags.set === undefined ? undefined : namedSet(trust, flags.set);
    const hasLanes = (set: ContractSet, gateway: Address): boolean => {
      const store = openStore(home, houseOf(trust, set, gateway));
      try {
        return store.hasLanes(account.address);
      } finally {
        store.close();
      }
    };
    const connection = await connect(url, {
      ...{ trust, accept, allowRevoked },
      chooseSet: (choice) => named ?? chooseSet(choice, allowRevoked, hasLanes),
    });
    const store = openStore(home, houseOf(trust, connection.set, connection.document.gateway));
    const close = () => {
      store.close();
      confirmed.close();
    };
    return { house, account, connection, trust, set: connection.set, store, confirmed, close };
  } catch (error) {
    confirmed.close();
    throw error;
  }
}

/** Names chain, contracts and gateway. The store keeps its lanes under this name. */
function houseOf({ chainId }: Trusted, { contracts }: ContractSet, gateway: Address): string {
  return `${chainId}:${contracts.billing}:${gateway}`;
}

/**
 * Chooses among the sets that the gateway serves: one where the account has lanes, the current one
 * first. Without lanes it is the current one.
 */
function chooseSet(
  { gateway, named, others }: SetChoice,
  allowRevoked: boolean,
  hasLanes: (set: ContractSet, gateway: Address) => boolean,
): ContractSet {
  if (others.length === 0) return named;
  const served = [named, ...others];
  const current = served.filter(({ status }) => status === 'current');
  const usable = served.filter(({ status }) => allowRevoked || status !== 'revoked');
  const used = [...current, ...usable].find((set) => hasLanes(set, gateway));
  return used ?? current[0] ?? named;
}

/** Opens a session with a stored token, or stores its new token for later commands. */
export function openSession(
  { connection, store }: Pick<Opened, 'connection' | 'store'>,
  key: Account,
  lane?: LaneName,
): Promise<Session> {
  const token = store.token(key.address, lane);
  return createSession({
    connection,
    key: key.privateKey,
    // The token is stored for later commands, next to the key that signs in. Binding it to another
    // key stored there would protect nothing.
    dpop: false,
    ...(lane && { lane }),
    ...(token && { token }),
    onToken: (fresh) => store.putToken(key.address, lane, fresh),
  });
}

/** Prints a note for the user on stderr; prints nothing with `--json`. */
export function note(flags: Pick<Flags, 'json'>, line: string): void {
  if (!flags.json) process.stderr.write(`${asTyped(line)}\n`);
}
