// What differs between the chains that the contracts can live on: which block counts, what a
// transaction may weigh, what gas costs. The deployer refuses what does not work; a gateway and a
// client take their defaults from here.

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
  /** EIP-155 ids that are known to be of this kind, test networks too. */
  readonly chainIds: readonly number[];
  /**
   * Deposits, lines, lanes, top-ups, epochs and sets count as of this block; what lowers a position
   * counts at `latest`.
   */
  readonly blockTag: BlockTag;
  /** Largest transaction that nodes take into their pools, bytes, with room for its envelope. */
  readonly maxTransactionBytes: number;
  /** Most gas of one transaction. */
  readonly transactionGasCap: number;
  /**
   * Whose number the EVM's `block.number` is: never compute an epoch from a node's, ask the Beacon
   * for `nextEpoch`.
   */
  readonly evmBlockNumber: 'own' | 'parent';
  /** Nobody pays for gas, so no slash must cover it. */
  readonly isGasFree: boolean;
  /** False: a proof of a misroute (D6) may cost more than its reward. */
  readonly isDrawEnforced: boolean;
  /** What a deployer has to know, one sentence. */
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
  /** Blocks are final at once. Its id is whatever its founders chose. */
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

/** The kind of a chain by its id; undefined where the table does not know it. */
export function chainKindOf(chainId: number): ChainKind | undefined {
  return CHAIN_KINDS.find((kind) => CHAINS[kind].chainIds.includes(chainId));
}
