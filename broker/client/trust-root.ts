// What a caller trusts from the start: the contracts of one chain, from a file, and an RPC of its
// own. A gateway's claims are checked against it, so that no gateway can choose a client's
// contracts, chain or code.
import { Interface, toQuantity, zeroPadValue } from 'ethers';
import { artifacts } from '../../contracts/artifacts.gen.ts';
import { createAbi } from '../../contracts/chain/abi.ts';
import { chainErrorOf } from '../../contracts/chain/chain-error.ts';
import { RpcProvider, readChainId } from '../../contracts/chain/rpc.ts';
import type { ContractAddresses } from '../../contracts/chain/types.ts';
import { checkSet, type SetTerms } from '../../contracts/deployed-code.ts';
import {
  addressesOf,
  type ContractSet,
  type Deployments,
  findSet,
} from '../../contracts/deployments.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { DefaasClientError } from './errors.ts';

const TIMEOUT_MS = 10_000;
/** Blocks per log query, for nodes that refuse the whole range at once. */
const PAGE_BLOCKS = 5_000;
/** Role bit of a gateway (Identity). */
const GATEWAY_ROLE = 1;

export interface TrustRootOptions {
  /** From a file that you trust: `parseDeployments`. */
  readonly deployments: Deployments;
  /** An RPC of your own, http or https. A gateway's RPC proves nothing about that gateway. */
  readonly rpcUrl: string;
}

export interface TrustRoot extends Deployments {
  readonly rpcUrl: string;
  /**
   * Checks, once per set, that the RPC serves this chain and that the contracts are this release's.
   * Returns their deployment parameters.
   * @throws ChainError DEPLOYMENT_CODE, CHAIN_MISMATCH another chain, CHAIN_UNREACHABLE
   */
  check(set: ContractSet): Promise<SetTerms>;
  /**
   * The URL that a gateway has registered in Identity; undefined: the account is no gateway.
   * @throws ChainError CHAIN_UNREACHABLE
   */
  gatewayUri(set: ContractSet, account: Address): Promise<string | undefined>;
}

/**
 * @example const trust = createTrustRoot({ deployments: parseDeployments(text, 'deployment.json'),
 *   rpcUrl: 'http://127.0.0.1:8545' });
 */
export function createTrustRoot({ deployments, rpcUrl }: TrustRootOptions): TrustRoot {
  const { chainId, sets } = deployments;
  const rpc = { urls: [rpcUrl], timeoutMs: TIMEOUT_MS };
  const provider = new RpcProvider(chainId, rpc);
  const checked = new Map<ContractSet, Promise<SetTerms>>();
  const checkOnce = async (set: ContractSet): Promise<SetTerms> => {
    const found = await readChainId(rpc);
    if (found === chainId) return checkSet(provider, chainId, set);
    throw new DefaasClientError(
      'CHAIN_MISMATCH',
      `the RPC is of chain ${found}, the contracts to believe are of chain ${chainId}, check the RPC URL`,
    );
  };
  return {
    chainId,
    sets,
    rpcUrl,
    check: (set) => {
      const known = checked.get(set);
      if (known) return known;
      const checking = checkOnce(set);
      checked.set(set, checking);
      // A failed check is repeated the next time.
      checking.catch(() => checked.delete(set));
      return checking;
    },
    gatewayUri: async (set, account) => {
      const abi = createAbi(addressesOf(set));
      const data = abi.encode('identity', 'partyOf', [account]);
      try {
        const answer = await provider.call({ to: set.contracts.identity, data });
        const [party] = abi.decode('identity', 'partyOf', answer);
        if ((Number(party.roles) & GATEWAY_ROLE) === 0) return undefined;
        return await readUri(provider, set, account);
      } catch (error) {
        throw chainErrorOf('identity.partyOf', error);
      }
    },
  };
}

/**
 * Reads the URI from the logs, the only place that has it. The newest counts, so if a node refuses
 * the whole range, pages are read from the newest backwards.
 */
async function readUri(
  provider: RpcProvider,
  { contracts, fromBlock }: ContractSet,
  account: Address,
): Promise<string | undefined> {
  const identity = new Interface(artifacts.Identity.abi);
  const events = ['PartyRegistered', 'PartyUpdated'].map(
    (name) => identity.getEvent(name)?.topicHash,
  );
  const topics = [events, zeroPadValue(account, 32)];
  const read = async (from: number, to: number) => {
    const [fromBlock, toBlock] = [from, to].map((number) => toQuantity(number));
    const query = { address: contracts.identity, topics, fromBlock, toBlock };
    const logs: { topics: string[]; data: string }[] = await provider.send('eth_getLogs', [query]);
    const newest = logs.at(-1);
    return newest && String(identity.parseLog(newest)?.args.uri);
  };
  const head = await provider.getBlockNumber();
  try {
    return await read(fromBlock, head);
  } catch (error) {
    if (head - fromBlock < PAGE_BLOCKS) throw error;
  }
  for (let to = head; to >= fromBlock; to -= PAGE_BLOCKS) {
    const uri = await read(Math.max(fromBlock, to - PAGE_BLOCKS + 1), to);
    if (uri !== undefined) return uri;
  }
  return undefined;
}

/**
 * The set that the gateway's document names. It must be one of the trust root's.
 * @throws DEPLOYMENT_MISMATCH another chain, or contracts of no set
 */
export function trustedSet(
  trust: Deployments,
  origin: string,
  { chainId, contracts }: { readonly chainId: number; readonly contracts: ContractAddresses },
): ContractSet {
  if (chainId !== trust.chainId) {
    throw mismatch(origin, `is on chain ${chainId}, trusted is chain ${trust.chainId}`);
  }
  const set = findSet(trust, contracts);
  if (set) return set;
  const names = trust.sets.map(({ id, contracts: { billing } }) => `${id} (${billing})`);
  throw mismatch(
    origin,
    `names other contracts (Billing ${contracts.billing}) than ${names.join(', ')}`,
  );
}

export function revoked(origin: string, set: ContractSet): DefaasClientError {
  return new DefaasClientError(
    'DEPLOYMENT_REVOKED',
    `the contracts of set ${set.id} are revoked, on ${origin}, nothing was signed or sent, run defaas withdraw`,
  );
}

export function mismatch(origin: string, what: string): DefaasClientError {
  return new DefaasClientError(
    'DEPLOYMENT_MISMATCH',
    `the gateway ${what}, on ${origin}, nothing was signed or sent, use another gateway`,
  );
}
