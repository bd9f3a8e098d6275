// What every command works with: the global flags, and the gateway, account and memory that they lead to.
import { type Connection, connect } from '../../broker/client/connection.ts';
import { createSession, type Session } from '../../broker/client/session.ts';
import type { LaneName } from '../../broker/client/sign-in.ts';
import { type Account, readAccount } from './account.ts';
import { findHouse, type House, type HouseFlags } from './house.ts';
import { openStore, type Store } from './store.ts';

export interface Flags extends HouseFlags {
  readonly json: boolean;
  /** Role of the active account: the name of its file in $DEFAAS_HOME/keys. */
  readonly account: string;
}

/** What a command has to say: a document for `--json`, text or bytes for people. */
export interface Outcome {
  readonly document: unknown;
  readonly text?: string;
  /** Written to stdout as they are, instead of text. */
  readonly bytes?: Uint8Array;
  /** Shown on stderr as `CODE: message`; the exit code is 1. */
  readonly failure?: { readonly code: string; readonly message: string };
}

/** A gateway that was found and asked who it is, with the active account and what is remembered of both. */
export interface Opened {
  readonly house: House;
  readonly account: Account;
  readonly connection: Connection;
  readonly store: Store;
  close(): void;
}

/** @throws CliError HOUSE_DOWN, KEY_MISSING; DefaasClientError GATEWAY_UNREACHABLE */
export async function openGateway(flags: Flags, role = flags.account): Promise<Opened> {
  const house = findHouse(flags);
  const account = readAccount(house.home, role);
  const connection = await connect(house.gateway);
  const { chainId, contracts, gateway } = connection.document;
  const store = openStore(house.home, `${chainId}:${contracts.billing}:${gateway}`);
  return { house, account, connection, store, close: () => store.close() };
}

/** Signed in with a token that other calls left, or left for them. */
export function openSession(
  { connection, store }: Pick<Opened, 'connection' | 'store'>,
  key: Account,
  lane?: LaneName,
): Promise<Session> {
  const token = store.token(key.address, lane);
  return createSession({
    connection,
    key: key.privateKey,
    // The token is kept for other calls, beside the key that signs in: binding it to one more key there would protect nothing.
    dpop: false,
    ...(lane && { lane }),
    ...(token && { token }),
    onToken: (fresh) => store.putToken(key.address, lane, fresh),
  });
}

/** Something for a person who waits or should know; never on stdout, and not with `--json`. */
export function note(flags: Pick<Flags, 'json'>, line: string): void {
  if (!flags.json) process.stderr.write(`${line}\n`);
}
