// Deploys the five contracts, or the two that hold money beside three that stay, and a mock token
// where none is given. The contracts hold each other's addresses, so the addresses are predicted
// from the nonce. Refuses, before it sends anything, a chain on which the contracts would not work
// or on which a slash would not pay for its proof.
import { ContractFactory, getCreateAddress, Interface, type Signer } from 'ethers';
import { artifacts } from './artifacts.gen.ts';
import { ChainError, chainErrorOf } from './chain/chain-error.ts';
import { CHAIN_KINDS, CHAINS, type ChainKind, chainKindOf } from './chain/chains.ts';
import type { ContractAddresses } from './chain/types.ts';
import type { Address } from './libraries/keccak.ts';

/**
 * Terms that can never be changed afterwards. Amounts in whole tokens, times in seconds; defaults
 * of docs/contracts.md 7.3 and 7.4.
 */
export interface DeployOptions {
  /** A plain ERC-20 with at most 18 decimals; without one a MockUSDC with 6 is deployed. */
  readonly token?: Address;
  /**
   * An existing set whose Registry, Identity, Beacon and token are kept: only Billing and Disputes
   * are deployed, for a set that replaces this one. `token` and `beaconK` are then taken from it.
   */
  readonly keep?: ContractAddresses;
  /** Decimals of `token`, for the amounts below. */
  readonly tokenDecimals?: number;
  /** May pause deposits and bonds and nothing else; nobody by default. */
  readonly guardian?: Address;
  /** Blocks per epoch of the Beacon: 1 in the local house. */
  readonly beaconK?: number;
  readonly minBondTokens?: number;
  readonly slashTokens?: Partial<typeof SLASH_TOKENS>;
  readonly windows?: Partial<typeof WINDOWS>;
  /** Kind of the chain, for a chain id that the table does not have. */
  readonly chain?: ChainKind;
  /**
   * Price of a million gas on this chain, whole tokens: the p95 of the last weeks, including the
   * data that a rollup posts. Required where gas is not free, because slashes must pay for proofs.
   */
  readonly megagasTokens?: number;
  /** Receives one line with what a deployer has to know of the chain. */
  readonly report?: (line: string) => void;
}

const HOUR = 3_600;
const DAY = 24 * HOUR;
const WINDOWS = {
  lineThawSec: DAY,
  feeDelaySec: 2 * DAY,
  demandWindowSec: 7 * DAY,
  answerWindowSec: 2 * DAY,
  proofWindowSec: 12 * DAY,
  unbondSec: 14 * DAY,
  keyOverlapSec: DAY,
  keyEvidenceSec: 3 * DAY,
};
/** Most gas of one proof, and of an answer to a demand (the bars of `bench gas`). */
const PROOF_GAS = 220_000;
const ANSWER_GAS = 120_000;
/** A reporter gets 1/12 of a slash, which must be at least twice the cost of the proof. */
const FLOOR_IN_PROOFS = 24;
/**
 * Creation code with the Cancun opcodes that the contracts need: PUSH0, MCOPY (EIP-5656), TSTORE
 * (EIP-1153). STOP is creation code that runs on any EVM.
 */
const CANCUN = '0x5f5f5f5e5f5f5d00';
const STOP = '0x00';
/** Minimum slashes of D2 and D3, D4 and D5, D6, D9; and the pledge for a demand. */
const SLASH_TOKENS = { grave: 100, charge: 10, misroute: 1, silence: 50, pledge: 1 };
const MIN_BOND_TOKENS = 1_000;
const BEACON_K = 32;
const MOCK_DECIMALS = 6;
const NO_ACCOUNT: Address = `0x${'00'.repeat(20)}`;

/**
 * Sends one transaction per contract from `signer`, which must send no others meanwhile. Then calls
 * `wired()`, which checks the pointers in both directions and the values that two contracts share.
 * @throws ChainError CHAIN_REVERTED  a value outside the bounds in the code (InvalidPeriod,
 *   InvalidBond, InvalidTerms), or Miswired
 * @throws ChainError CHAIN_MISMATCH  another transaction of the signer came between
 * @throws ChainError DEPLOYMENT_REFUSED  the chain lacks opcodes, is of no known kind, or its gas
 *   costs more than the slashes bear
 */
export async function deployContracts(
  signer: Signer,
  options: DeployOptions = {},
): Promise<ContractAddresses> {
  await checkChain(signer, options);
  const from = await signer.getAddress();
  const nonce = await signer.getNonce('pending');
  const { keep } = options;
  const given = keep?.token ?? options.token;
  const made: readonly Name[] = keep ? ['Billing', 'Disputes'] : FIVE;
  const order: readonly Name[] = given === undefined ? ['MockUSDC', ...made] : made;
  const predicted = (name: Name): Address =>
    // Safe: an address, in lower case.
    getCreateAddress({ from, nonce: nonce + order.indexOf(name) }).toLowerCase() as Address;
  const contracts = {
    token: given ?? predicted('MockUSDC'),
    registry: keep?.registry ?? predicted('FunctionRegistry'),
    identity: keep?.identity ?? predicted('Identity'),
    billing: predicted('Billing'),
    disputes: predicted('Disputes'),
    beacon: keep?.beacon ?? predicted('Beacon'),
  };
  const args = constructorArguments(contracts, options);

  // The logs of the kept contracts hold the functions, parties and epochs, so start at their block.
  let deployedAtBlock = keep?.deployedAtBlock ?? Number.POSITIVE_INFINITY;
  for (const [i, name] of order.entries()) {
    const block = await deployOne({
      signer,
      name,
      args: args[name],
      nonce: nonce + i,
      expected: predicted(name),
    });
    if (name !== 'MockUSDC') deployedAtBlock = Math.min(deployedAtBlock, block);
  }
  await checkWired(signer, contracts.disputes);
  return { ...contracts, deployedAtBlock };
}

/**
 * Refuses a chain on which the contracts would not work, or on which a proof costs more than it
 * earns.
 */
async function checkChain(signer: Signer, options: DeployOptions): Promise<void> {
  await runs(signer, STOP);
  const network = await signer.provider?.getNetwork();
  const chainId = Number(network?.chainId ?? 0);
  const kind = options.chain ?? chainKindOf(chainId);
  if (kind === undefined) {
    throw refused(
      `chain ${chainId} is not in the table, say what it is: ${CHAIN_KINDS.join(', ')}`,
    );
  }
  await runs(signer, CANCUN).catch((cause: unknown) => {
    throw refused(
      `chain ${chainId} does not run PUSH0, MCOPY and TSTORE, use one that has Cancun`,
      cause,
    );
  });
  const { isGasFree, isDrawEnforced, note } = CHAINS[kind];
  const megagas = options.megagasTokens ?? (isGasFree ? 0 : Number.NaN);
  if (!Number.isFinite(megagas) || megagas < 0 || (megagas === 0 && !isGasFree)) {
    throw refused(`gas is not free on ${kind}, say what a million costs (megagasTokens)`);
  }
  const { pledge, ...slashes } = { ...SLASH_TOKENS, ...options.slashTokens };
  const leastSlash = (FLOOR_IN_PROOFS * PROOF_GAS * megagas) / 1e6;
  for (const [name, tokens] of Object.entries(slashes)) {
    if (tokens >= leastSlash || (name === 'misroute' && !isDrawEnforced)) continue;
    throw refused(
      `slashTokens.${name} is ${tokens}, and a proof on ${kind} pays from ${leastSlash.toFixed(2)} on`,
    );
  }
  const leastPledge = (ANSWER_GAS * megagas) / 1e6;
  if (pledge < leastPledge) {
    throw refused(
      `slashTokens.pledge is ${pledge}, and an answer on ${kind} costs ${leastPledge.toFixed(2)}`,
    );
  }
  if (note !== undefined) options.report?.(`${kind}: ${note}`);
}

async function runs(signer: Signer, code: string): Promise<void> {
  try {
    await signer.call({ data: code });
  } catch (error) {
    throw chainErrorOf('asking the chain', error);
  }
}

function refused(message: string, cause?: unknown): ChainError {
  return new ChainError('DEPLOYMENT_REFUSED', message, { cause });
}

/** The order matters: the constructor of Disputes asks Billing for its token. */
const FIVE = ['Beacon', 'FunctionRegistry', 'Identity', 'Billing', 'Disputes'] as const;
type Name = (typeof FIVE)[number] | 'MockUSDC';

function constructorArguments(
  contracts: Omit<ContractAddresses, 'deployedAtBlock'>,
  options: DeployOptions,
): Record<Name, unknown[]> {
  const { token, registry, identity, billing, disputes, beacon } = contracts;
  const windows = { ...WINDOWS, ...options.windows };
  const slash = { ...SLASH_TOKENS, ...options.slashTokens };
  const toUnits = (tokens: number): bigint =>
    BigInt(Math.round(tokens * 1_000)) * 10n ** BigInt(decimals - 3);
  const decimals = options.tokenDecimals ?? MOCK_DECIMALS;
  return {
    MockUSDC: [],
    Beacon: [options.beaconK ?? BEACON_K],
    FunctionRegistry: [beacon, identity],
    Identity: [registry, windows.keyOverlapSec, windows.keyEvidenceSec],
    Billing: [
      token,
      identity,
      disputes,
      options.guardian ?? NO_ACCOUNT,
      toUnits(options.minBondTokens ?? MIN_BOND_TOKENS),
      windows.lineThawSec,
      windows.feeDelaySec,
      windows.unbondSec,
      windows.proofWindowSec,
    ],
    Disputes: [
      billing,
      identity,
      registry,
      beacon,
      {
        grave: toUnits(slash.grave),
        charge: toUnits(slash.charge),
        misroute: toUnits(slash.misroute),
        silence: toUnits(slash.silence),
        pledge: toUnits(slash.pledge),
        demandWindow: windows.demandWindowSec,
        answerWindow: windows.answerWindowSec,
        proofWindow: windows.proofWindowSec,
      },
    ],
  };
}

interface OneContract {
  readonly signer: Signer;
  readonly name: Name;
  readonly args: unknown[];
  readonly nonce: number;
  readonly expected: Address;
}

/** Returns the number of the block that includes the deployment. */
async function deployOne({ signer, name, args, nonce, expected }: OneContract): Promise<number> {
  const { abi, bytecode } = artifacts[name];
  try {
    const contract = await new ContractFactory(abi, bytecode, signer).deploy(...args, { nonce });
    const receipt = await contract.deploymentTransaction()?.wait();
    const address = (await contract.getAddress()).toLowerCase();
    if (address !== expected) {
      const message = `${name} is at ${address}, not ${expected}: the deployer sent something meanwhile, deploy again`;
      throw new ChainError('CHAIN_MISMATCH', message);
    }
    return receipt?.blockNumber ?? 0;
  } catch (error) {
    throw chainErrorOf(`deploying ${name}`, error);
  }
}

async function checkWired(signer: Signer, disputes: Address): Promise<void> {
  const wired = new Interface(artifacts.Disputes.abi).encodeFunctionData('wired');
  try {
    await signer.call({ to: disputes, data: wired });
  } catch (error) {
    throw chainErrorOf('disputes.wired', error);
  }
}
