// What a watcher works with: an account, the contracts of the trust root, the user's own RPC, and
// batches from any source. Gateways only deliver blocks, so none has to be up or honest.
import { fetchBlockAt } from '../../broker/client/artifacts.ts';
import type { GetBlock } from '../../broker/client/batch.ts';
import { type Connection, type ConnectOptions, connect } from '../../broker/client/connection.ts';
import { DefaasClientError } from '../../broker/client/errors.ts';
import { type HeldReceipt, heldOf } from '../../broker/client/exhibits.ts';
import type { WatchedLane } from '../../broker/client/find-frauds.ts';
import { parseReceipt } from '../../broker/client/receipts.ts';
import { type Chain, createChain } from '../../contracts/chain.ts';
import { addressesOf, type ContractSet } from '../../contracts/deployments.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { type Account, readAccount } from './account.ts';
import { accountTurns } from './account-turn.ts';
import { CliError } from './cli-error.ts';
import { confirmHome } from './confirm.ts';
import type { Flags } from './context.ts';
import { findHome, findHouse, type House, locateHome } from './house.ts';
import { mandatedGateways, openConfirmed, openStore, type Store } from './store.ts';
import { openTrust } from './trust.ts';

export interface Watcher {
  readonly home: string;
  /** The store of a gateway. */
  storeOf(gateway: Address): Store;
  /** Gateways for whose lanes the account has signed mandates. */
  mandatedGateways(): readonly Address[];
  /**
   * Connects to a gateway by the URL in use or its registered one, and opens its store.
   * @throws DefaasClientError GATEWAY_UNREACHABLE, DEPLOYMENT_MISMATCH
   */
  openGateway(gateway: Address): Promise<WatchedGateway>;
  readonly account: Account;
  readonly chain: Chain;
  /**
   * Fetches blocks of a gateway's batches, from the gateway in use, then from that gateway's
   * registered URL.
   */
  getBlock(gateway: Address): GetBlock;
  /** The lane's signed receipts that this machine keeps. */
  held(lane: WatchedLane): readonly HeldReceipt[];
  close(): void;
}

/** A gateway as commands work with it. */
export interface WatchedGateway {
  readonly account: Account;
  readonly house: Pick<House, 'home'>;
  readonly connection: Connection;
  readonly store: Store;
}

/**
 * Opens a watcher with the contracts that the evidence names, else those in use.
 * @throws CliError KEY_MISSING, RPC_REQUIRED, DEPLOYMENT_MISSING, DEPLOYMENT_UNCONFIRMED;
 * ChainError DEPLOYMENT_CODE, CHAIN_UNREACHABLE
 * @throws DefaasClientError EVIDENCE_INVALID  it is about other contracts than those that are
 * believed
 */
export async function openWatcher(
  flags: Flags,
  about?: { readonly chainId: number; readonly billing: Address },
): Promise<Watcher> {
  await confirmHome(flags, locateHome());
  const house = houseOrNone(flags);
  const { home } = house;
  const account = readAccount(home, flags.account);
  const confirmed = openConfirmed(home);
  const stores = new Map<Address, Store>();
  let chain: Chain | undefined;
  const close = () => {
    chain?.close();
    for (const store of stores.values()) store.close();
    confirmed.close();
  };
  try {
    const trust = await openTrust(flags, house, confirmed);
    const set = trust.sets.find(({ contracts, status }) =>
      about === undefined ? status === 'current' : contracts.billing === about.billing,
    );
    if (set === undefined || trust.chainId !== (about?.chainId ?? trust.chainId)) {
      throw new DefaasClientError(
        'EVIDENCE_INVALID',
        `the evidence is of chain ${about?.chainId}, Billing ${about?.billing}, which ${trust.file} does not have; nothing was sent`,
      );
    }
    await trust.check(set);
    chain = await startChain(home, trust, set);
    const { view } = chain;
    const contracts = `${trust.chainId}:${set.contracts.billing}`;
    const storeOf = (gateway: Address): Store => {
      const store = stores.get(gateway) ?? openStore(home, `${contracts}:${gateway}`);
      stores.set(gateway, store);
      return store;
    };
    return {
      home,
      storeOf,
      mandatedGateways: () => mandatedGateways(home, contracts, account.address),
      openGateway: async (gateway) => {
        const urls = [house.gateway, view.party(gateway)?.uri ?? ''];
        const connection = await connectToOne(urls, { trust, gateway });
        return { account, house, connection, store: storeOf(gateway) };
      },
      account,
      chain,
      getBlock: (gateway) => blocksFrom([house.gateway, view.party(gateway)?.uri ?? '']),
      held: ({ gateway, payer, signer }) =>
        heldIn(storeOf(gateway).receiptDocuments({ payer, signer })),
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

/**
 * Connects to the first URL at which this gateway answers.
 * @throws DefaasClientError what the last one was instead
 */
async function connectToOne(
  urls: readonly string[],
  options: ConnectOptions & { readonly gateway: Address },
): Promise<Connection> {
  let failure: unknown = new DefaasClientError(
    'GATEWAY_UNREACHABLE',
    `gateway ${options.gateway} has registered no URL, name one with --gateway`,
  );
  for (const url of new Set(urls)) {
    if (!URL.canParse(url)) continue;
    try {
      return await connect(url, options);
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

/** Parses receipts from our own database; they are trusted. */
function heldIn(documents: readonly string[]): readonly HeldReceipt[] {
  return documents.map((text) => heldOf(parseReceipt(JSON.parse(text))));
}

async function startChain(
  home: string,
  { chainId, rpcUrl }: { readonly chainId: number; readonly rpcUrl: string },
  set: ContractSet,
): Promise<Chain> {
  const exclusively = accountTurns(home);
  const contracts = addressesOf(set);
  const chain = await createChain({ rpcUrls: [rpcUrl], contracts, chainId, exclusively });
  try {
    await chain.start();
    return chain;
  } catch (error) {
    chain.close();
    throw error;
  }
}

/** The house in use; if there is none, only the RPC and the account that the user names. */
function houseOrNone(flags: Flags): House {
  try {
    return findHouse(flags);
  } catch (error) {
    const rpcUrl = flags.rpc ?? process.env.DEFAAS_CHAIN_RPC_URL?.split(',')[0];
    if (!rpcUrl || !(error instanceof CliError)) throw error;
    return { home: findHome(), gateway: '', rpcUrl, up: undefined };
  }
}

/** Asks each URL in turn. The caller checks the bytes against the CID. */
function blocksFrom(urls: readonly string[]): GetBlock {
  const origins = new Set(
    urls
      .filter((url) => /^https?:/.test(url) && URL.canParse(url))
      .map((url) => new URL(url).origin),
  );
  return async (cid) => {
    const failures: string[] = [];
    for (const origin of origins) {
      try {
        return await fetchBlockAt(origin, cid);
      } catch (error) {
        failures.push(`${origin} (${error instanceof Error ? error.message : error})`);
      }
    }
    throw new Error(`nobody gives it: ${failures.join(', ').slice(0, 200)}`);
  };
}
