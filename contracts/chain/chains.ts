// Differences between the chains that can host the contracts: finality, limits of a transaction,
// price of gas. The deployer refuses unsuitable chains; gateways and clients take their defaults
// from here.

/** `latest`, or a block that the chain says is final enough. */
export type BlockTag = 'latest' | 'safe' | 'finalized';

export const CHAIN_KINDS = [
  'local',
  'besu-qbft',
  'ethereum',
  'op-stack',
  'arbitrum',
  'polygon',
] as const;
export type ChainKind = (typeof CHAIN_KINDS)[number];

export interface ChainTraits {
  /** EIP-155 chain ids of this kind, test networks included. */
  readonly chainIds: readonly number[];
  /**
   * Block tag from which deposits, lines, lanes, top-ups, epochs and sets count; events that lower
   * a position count at `latest`.
   */
  readonly blockTag: BlockTag;
  /** Largest transaction that nodes accept into their pools, bytes, less room for the envelope. */
  readonly maxTransactionBytes: number;
  /** Most gas of one transaction. */
  readonly transactionGasCap: number;
  /**
   * The chain whose height the EVM's `block.number` gives. Never compute an epoch from a node's
   * block number; ask the Beacon for `nextEpoch`.
   */
  readonly evmBlockNumber: 'own' | 'parent';
  /** Gas is free, so slashes need not cover it. */
  readonly isGasFree: boolean;
  /** False where a proof of a misroute (D6) may cost more than its reward. */
  readonly isDrawEnforced: boolean;
  /** One sentence for the deployer. */
  readonly note?: string;
}

/** Three quarters of the 128 KiB that go-ethereum's pool takes. */
const POOL_BYTES = 96 * 1024;
/** EIP-7825. */
const GAS_CAP = 2 ** 24;

const OWN_CHAIN = {
  chainIds: [],
  blockTag: 'latest',
  maxTransactionBytes: POOL_BYTES,
  transactionGasCap: GAS_CAP,
  evmBlockNumber: 'own',
  isGasFree: true,
  isDrawEnforced: true,
} as const satisfies ChainTraits;

export const CHAINS: Readonly<Record<ChainKind, ChainTraits>> = {
  /** anvil and Hardhat. */
  local: { ...OWN_CHAIN, chainIds: [1_337, 31_337] },
  /** Blocks are final at once. Its founders choose the chain id, so the table lists none. */
  'besu-qbft': {
    ...OWN_CHAIN,
    note: 'its genesis needs cancunTime 0 and zeroBaseFee, its nodes a least gas price of 0',
  },
  ethereum: {
    ...OWN_CHAIN,
    chainIds: [1, 11_155_111, 560_048],
    blockTag: 'finalized',
    isGasFree: false,
    isDrawEnforced: false,
    note: 'the draw is not enforced here (D6): a slash that pays for its proof would be out of proportion',
  },
  /** The sequencer's own pool is that of go-ethereum. */
  'op-stack': {
    ...OWN_CHAIN,
    chainIds: [10, 8_453, 84_532, 11_155_420],
    blockTag: 'safe',
    isGasFree: false,
  },
  /**
   * Nitro's sequencer takes 95 000 bytes by default, and 32 million gas, which includes what the
   * data costs on the parent chain.
   */
  arbitrum: {
    ...OWN_CHAIN,
    chainIds: [42_161, 421_614],
    blockTag: 'safe',
    maxTransactionBytes: 80 * 1024,
    transactionGasCap: 32_000_000,
    evmBlockNumber: 'parent',
    isGasFree: false,
    note: 'block hashes come from the sequencer, which can therefore choose the draws (D6)',
  },
  polygon: {
    ...OWN_CHAIN,
    chainIds: [137, 80_002],
    blockTag: 'finalized',
    transactionGasCap: 32_000_000,
    isGasFree: false,
  },
};

/** The kind of a chain by its id; undefined if the table does not have it. */
export function chainKindOf(chainId: number): ChainKind | undefined {
  return CHAIN_KINDS.find((kind) => CHAINS[kind].chainIds.includes(chainId));
}
