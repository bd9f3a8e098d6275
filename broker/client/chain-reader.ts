// The few things a payer asks the chain itself, by RPC: balances, keys in force, terms of a
// version. No logs are read.
import { Contract } from 'ethers';
import { RpcProvider } from '../../contracts/chain/rpc.ts';
import type { Address, Hex } from '../../contracts/libraries/keccak.ts';
import { functionIdOf, functionVersionOf } from '../../contracts/libraries/names.ts';
import type { PriceTerms } from '../../contracts/libraries/tariffs.ts';
import type { CallChain } from './call-terms.ts';
import type { Connection } from './connection.ts';

/** How long a key's state is cached, ms. Short, so that a retired key is noticed. */
const KEY_CACHE_MS = 60_000;
const TIMEOUT_MS = 10_000;
/** Role of a key that signs receipts (docs/contracts.md 8.2). */
const GATEWAY_ROLE = 1;

const IDENTITY = [
  'function isKeyInForce(address key, address party, uint8 role) view returns (bool)',
];
const REGISTRY = [
  'function namespaceOf(string label) view returns (address)',
  'function aliasOf(uint256 functionId, string label) view returns (uint32)',
  'function versionOf(bytes32 functionVersion) view returns (uint256 functionId, uint32 number, bool deprecated, (bytes32 manifest, bytes32 artifact, uint8 manifestCodec, uint8 artifactCodec, (uint64 perCall, uint64 perGiBSecond, uint64 maxPrice, uint32 minBilledMs, uint32 roundMs, uint16 publisherBps) tariff, uint8 accessMode, uint32 memoryMiB, uint32 timeoutMs, bool idempotent, bool deterministic) terms)',
  'function priceTermsOf(bytes32 functionVersion) view returns (((uint64 perCall, uint64 perGiBSecond, uint64 maxPrice, uint32 minBilledMs, uint32 roundMs, uint16 publisherBps) tariff, uint32 memoryMiB, uint32 timeoutMs))',
];
const BILLING = [
  'function free(address account) view returns (uint256)',
  'function lineOf(address payer, address gateway) view returns ((uint104 allotted, uint104 thawing, uint48 thawEnd))',
  'function laneOf(address payer, address gateway, address signer) view returns ((uint88 settled, uint88 cap, uint40 seq, uint32 expiry, uint8 mode))',
];
const TOKEN = [
  'function balanceOf(address account) view returns (uint256)',
  'function decimals() view returns (uint8)',
  'function symbol() view returns (string)',
];

/** Money set aside for one gateway, base units. */
export interface LineBalance {
  readonly allottedUnits: bigint;
  readonly thawingUnits: bigint;
  /** When the thawing amount can be released, Unix seconds; 0 when nothing thaws. */
  readonly thawEndSec: number;
}

export interface LaneBalance {
  readonly settledUnits: bigint;
  readonly capUnits: bigint;
  readonly seq: number;
  readonly expirySec: number;
  /** 0: never opened, 1: prepaid, 2: signed. */
  readonly mode: number;
}

export interface ChainReader extends CallChain {
  readonly chainId: number;
  readonly contracts: Connection['chain']['contracts'];
  /** Whether a published version may be called again although the first call may have run. */
  isIdempotent(functionVersion: Hex): Promise<boolean>;
  /** Deposited and not set aside for any gateway, base units. */
  freeUnits(account: Address): Promise<bigint>;
  /** Tokens that the account holds itself, base units. */
  tokenUnits(account: Address): Promise<bigint>;
  /** How the billing token is displayed. */
  tokenForm(): Promise<{ decimals: number; symbol: string }>;
  line(payer: Address, gateway: Address): Promise<LineBalance>;
  lane(payer: Address, gateway: Address, signer: Address): Promise<LaneBalance>;
  close(): void;
}

/**
 * `of` locates the chain by the trust root: `connection.chain`. An RPC of the gateway would only
 * give the gateway's own word. All methods reject with CHAIN_UNREACHABLE when no RPC answers.
 */
export function createChainReader(of: Connection['chain']): ChainReader {
  const { chainId, contracts, rpcUrl } = of;
  const provider = new RpcProvider(chainId, { urls: [rpcUrl], timeoutMs: TIMEOUT_MS });
  const ask = (address: Address, abi: string[]) => {
    const contract = new Contract(address, abi, provider);
    return (method: string, ...args: readonly unknown[]) =>
      contract.getFunction(method).staticCall(...args);
  };
  const identity = ask(contracts.identity, IDENTITY);
  const registry = ask(contracts.registry, REGISTRY);
  const billing = ask(contracts.billing, BILLING);
  const token = ask(contracts.token, TOKEN);
  const keys = new Map<string, { isInForce: boolean; atMs: number }>();
  const terms = new Map<Hex, PriceTerms>();
  const functions = new Map<Hex, bigint>();

  const priceTerms = async (functionVersion: Hex): Promise<PriceTerms | undefined> => {
    const known = terms.get(functionVersion);
    if (known) return known;
    const found = parseTerms(await registry('priceTermsOf', functionVersion));
    // Versions are immutable, so the result is cached for good.
    if (found) terms.set(functionVersion, found);
    return found;
  };
  return {
    chainId,
    contracts,
    isIdempotent: async (functionVersion) =>
      (await registry('versionOf', functionVersion)).terms.idempotent,
    isKeyInForce: async (key, gateway) => {
      const known = keys.get(`${key} ${gateway}`);
      if (known && Date.now() - known.atMs < KEY_CACHE_MS) return known.isInForce;
      const isInForce: boolean = await identity('isKeyInForce', key, gateway, GATEWAY_ROLE);
      keys.set(`${key} ${gateway}`, { isInForce, atMs: Date.now() });
      return isInForce;
    },
    priceTerms,
    functionOf: async (functionVersion) => {
      const known = functions.get(functionVersion);
      if (known !== undefined) return known;
      // The contract reverts for a version that was never published.
      if (!(await priceTerms(functionVersion))) return undefined;
      const { functionId } = await registry('versionOf', functionVersion);
      functions.set(functionVersion, functionId);
      return functionId;
    },
    functionVersion: async (name) => {
      const { owner, name: own, reference } = splitName(name);
      const namespace = isAddress(owner) ? owner : await registry('namespaceOf', owner);
      const functionId = functionIdOf(namespace.toLowerCase(), own);
      const number = /^\d{1,9}$/.test(reference)
        ? Number(reference)
        : Number(await registry('aliasOf', functionId, reference));
      return functionVersionOf(contracts.registry, functionId, number);
    },
    freeUnits: (account) => billing('free', account),
    tokenUnits: (account) => token('balanceOf', account),
    tokenForm: async () => ({
      decimals: Number(await token('decimals')),
      symbol: await token('symbol'),
    }),
    line: async (payer, gateway) => {
      const line = await billing('lineOf', payer, gateway);
      return {
        allottedUnits: line.allotted,
        thawingUnits: line.thawing,
        thawEndSec: Number(line.thawEnd),
      };
    },
    lane: async (payer, gateway, signer) => {
      const lane = await billing('laneOf', payer, gateway, signer);
      return {
        settledUnits: lane.settled,
        capUnits: lane.cap,
        seq: Number(lane.seq),
        expirySec: Number(lane.expiry),
        mode: Number(lane.mode),
      };
    },
    close: () => provider.destroy(),
  };
}

/** `owner/name`, `owner/name@version` or `owner/name@alias`. */
function splitName(text: string) {
  const [, owner = '', name = '', reference = 'latest'] =
    /^([^/@]+)\/([^/@]+)(?:@(.+))?$/.exec(text.toLowerCase()) ?? [];
  return { owner, name, reference };
}

function isAddress(text: string): text is Address {
  return /^0x[0-9a-f]{40}$/.test(text);
}

interface TermsWords {
  readonly tariff: Readonly<Record<keyof PriceTerms['tariff'], bigint>>;
  readonly memoryMiB: bigint;
  readonly timeoutMs: bigint;
}

/**
 * A version that was never published is all zeros; roundMs is never 0 for a published one
 * (docs/contracts.md 8.1).
 */
function parseTerms({ tariff, memoryMiB, timeoutMs }: TermsWords): PriceTerms | undefined {
  if (tariff.roundMs === 0n) return undefined;
  return {
    tariff: {
      perCall: tariff.perCall,
      perGiBSecond: tariff.perGiBSecond,
      maxPrice: tariff.maxPrice,
      minBilledMs: Number(tariff.minBilledMs),
      roundMs: Number(tariff.roundMs),
      publisherBps: Number(tariff.publisherBps),
    },
    memoryMiB: Number(memoryMiB),
    timeoutMs: Number(timeoutMs),
  };
}
