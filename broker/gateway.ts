// The gateway: its parts, created once and passed to whoever needs them. No globals; `close` ends
// everything that was started here.

import type { Logger } from 'pino';
import { hasTexts, readState } from '../adapters/runtime/whole-file.ts';
import { chainKindOf } from '../contracts/chain/chains.ts';
import type { ContractAddresses } from '../contracts/chain/types.ts';
import type { ChainWriter } from '../contracts/chain/writer.ts';
import { type Chain, createChain } from '../contracts/chain.ts';
import type { Address, Hex } from '../contracts/libraries/keccak.ts';
import { type Alarms, createAlarms } from './alarms.ts';
import type { Config } from './config.ts';
import { DefaasError } from './errors.ts';
import { closeHouse, createHouse, type House } from './house.ts';
import { type Authenticate, createAuthenticate } from './identity/access-tokens.ts';
import { createChainChecks } from './identity/chain-checks.ts';
import {
  type ClientAssertions,
  createClientAssertions,
  USED_ASSERTIONS,
} from './identity/client-assertions.ts';
import { createDpopProofs, type DpopProofs, USED_PROOFS } from './identity/dpop.ts';
import { type KeptOnce, openKeptOnce } from './identity/kept-once.ts';
import type { OnceOptions } from './identity/once.ts';
import { createOperatorKey, type OperatorKey } from './identity/operator-key.ts';
import { createSignIn, type SignIn } from './identity/sign-in.ts';
import { createTokens, type Tokens } from './identity/tokens.ts';
import { type Answers, createAnswers } from './invocation/answers.ts';
import { createDeadlines, type Deadlines } from './invocation/deadlines.ts';
import { createJournal, type Journal } from './invocation/journal.ts';
import { createSeenNonces, GENERATION, type SeenNonces } from './invocation/nonce.ts';
import { houseFolder, ledgerFolder } from './ledger/folders.ts';
import type { LaneTotals, Ledger } from './ledger/ledger.ts';
import { openSqliteLedger } from './ledger/sqlite.ts';
import { createDailyLimits, type DailyLimits, utcDay } from './money/daily-limits.ts';
import { createLanes, type Lanes } from './money/lanes.ts';
import { createLowBalance, type LowBalance } from './money/low-balance.ts';
import { createMandates, type Mandates } from './money/mandates.ts';
import { createPeers, type Peers } from './peers.ts';
import { type Beacon, createBeacon } from './routing/beacon.ts';

export interface Gateway extends House {
  readonly config: Config;
  readonly log: Logger;
  /** The gateway's account on the chain. */
  readonly address: Address;
  readonly chain: Chain;
  /**
   * Sends transactions from the gateway's account, which is also the provider account of its
   * deployments.
   */
  readonly account: ChainWriter;
  readonly settler: ChainWriter;
  readonly ledger: Ledger;
  /**
   * All sets that this process serves, by Billing address; each is added when its server listens.
   */
  readonly sets: Map<Address, ServedSet>;
  readonly lanes: Lanes;
  readonly journal: Journal;
  readonly groupSigner: OperatorKey;
  readonly alarms: Alarms;
  readonly dailyLimits: DailyLimits;
  readonly mandates: Mandates;
  readonly lowBalance: LowBalance;
  readonly answers: Answers;
  readonly seenNonces: SeenNonces;
  readonly beacon: Beacon;
  readonly tokens: Tokens;
  readonly signIn: SignIn;
  readonly proofs: DpopProofs;
  readonly clientAssertions: ClientAssertions;
  readonly authenticate: Authenticate;
  readonly nowMs: () => number;
  readonly deadlines: Deadlines;
  /** Aborted when the gateway closes. Long-running work must end with it. */
  readonly closing: AbortSignal;
  /** Tells the address of a request's client. */
  readonly peers: Peers;
  close(): Promise<void>;
}

export interface ServedSet {
  readonly gateway: Gateway;
  /** Where callers reach it, such as `https://next.gateway.example`. */
  readonly origin: string;
}

interface GatewayOptions {
  readonly config: Config;
  readonly log: Logger;
  readonly nowMs?: () => number;
  /** Called when the ledger may no longer match memory; the process must end. */
  readonly onBroken: (error: unknown) => void;
  /**
   * The gateway of another set in this process, which is closed after this one. Its house-wide
   * parts are reused.
   */
  readonly beside?: Gateway;
}

/**
 * Open everything: catch up with the chain, load the ledger, and sign the groups that a crash left
 * unsigned.
 * @throws DefaasError CONFIG_INVALID, LEDGER_FAILED   @throws ChainError CHAIN_UNREACHABLE
 */
export async function createGateway(options: GatewayOptions): Promise<Gateway> {
  const { config, log, nowMs = Date.now, beside } = options;
  const closing = new AbortController();
  const chain = await openChainOf(config, beside?.chain);
  warnOfChain(chain, config, log);
  // Safe: `readConfig` has checked that keys are 32 bytes of hex.
  const account = chain.connect({ privateKey: config.gatewayKey.reveal() as Hex });
  const settler = chain.connect({ privateKey: config.settlerKey.reveal() as Hex });
  const { address } = account;
  const signer = createOperatorKey({
    privateKey: config.operatorKey.reveal() as Hex,
    file: config.operatorKeyFile,
    chain,
    gateway: address,
    ...(beside && { held: beside.groupSigner.held }),
  });
  const opened = await openLedgers(options, chain, address, utcDay(nowMs())).catch((error) => {
    chain.close();
    throw error;
  });
  const { ledger, state, houseLedger } = opened;
  await ledger.putSignatures(
    state.unsignedGroups.map(({ group, root, count }) => ({
      group,
      key: signer.key,
      signature: signer.sign(root, count),
    })),
  );
  const alarms = createAlarms({ log, nowMs });
  const house =
    beside ??
    (await createHouse({
      ...{ config, log, nowMs, address, signer, alarms },
      ledger: houseLedger,
      state: opened.houseState,
    }));
  const tokens = await createTokens({
    keyFile: `${houseFolder(config)}/token-key.json`,
    gateway: address,
    chainId: chain.chainId,
    billing: chain.contracts.billing,
    headBlock: () => chain.view.head.number,
    nowMs,
  });
  const keepUsed = (name: string, of: Pick<OnceOptions, 'lifeMs' | 'max'>): Promise<KeptOnce> =>
    openKeptOnce({ file: `${opened.folder}/${name}`, ...of, nowMs });
  const used = {
    proofs: await keepUsed('used-proofs', USED_PROOFS),
    assertions: await keepUsed('used-assertions', USED_ASSERTIONS),
  };
  const proofs = createDpopProofs(used.proofs, nowMs);
  const answers = createAnswers({
    ledger,
    dir: `${opened.folder}/answers`,
    maxFileBytes: config.answersMaxMiB * 1024 * 1024,
    nowMs,
    onFailed: (err) => log.warn({ err }, 'old answers were not removed'),
  });
  return {
    ...house,
    sets: beside?.sets ?? new Map(),
    config,
    log,
    address,
    chain,
    account,
    settler,
    ledger,
    lanes: createLanes({
      gateway: address,
      view: chain.view,
      final: chain.final,
      totals: state.lanes,
      vouchers: state.vouchers,
      leastLifeSec: 2 * config.settlementCycleSec,
      nowSec: () => nowMs() / 1000,
    }),
    journal: createJournal({
      ledger,
      signer,
      lastGroup: state.lastGroup,
      onBroken: options.onBroken,
    }),
    groupSigner: signer,
    alarms,
    mandates: createMandates({
      mandates: state.mandates,
      spending: state.mandateSpending,
      nowMs,
    }),
    dailyLimits: createDailyLimits({
      functionDefaultUnits: config.sponsorDailyUnits,
      limits: state.dailyLimits,
      spentToday: state.spentToday,
      nowMs,
    }),
    lowBalance: createLowBalance({ gateway: address, log, nowMs }),
    answers,
    seenNonces: createSeenNonces(await ledger.lastNonces(GENERATION)),
    beacon: createBeacon({
      chain,
      writer: account,
      gateway: address,
      localFromBlock: config.chainLocalFromBlock,
      nowMs,
      onFailed: (err) => log.warn({ err }, 'the beacon was not renewed'),
    }),
    tokens,
    signIn: createSignIn({ chain, checks: createChainChecks(), gateway: address, nowMs }),
    proofs,
    clientAssertions: createClientAssertions(ledger, used.assertions, nowMs),
    authenticate: createAuthenticate(tokens, proofs, nowMs),
    nowMs,
    deadlines: createDeadlines(closing.signal),
    closing: closing.signal,
    peers: createPeers(config),
    close: async () => {
      closing.abort();
      answers.close();
      await used.proofs.close();
      await used.assertions.close();
      if (beside === undefined) await closeHouse(house);
      chain.close();
      await opened.close();
    },
  };
}

/**
 * Refuse a second set whose registry, identity or beacon differ: functions and keys are shared.
 * Refuse the same Billing too: a Billing has one ledger.
 * @throws DefaasError CONFIG_INVALID
 */
function refuseStrangers(second: ContractAddresses, first: ContractAddresses): void {
  const kept = ['registry', 'identity', 'beacon'] as const;
  if (second.billing !== first.billing && kept.every((name) => second[name] === first[name])) {
    return;
  }
  throw new DefaasError(
    'CONFIG_INVALID',
    `DEFAAS_SECOND_CONTRACTS_FILE must name another Billing (it has ${second.billing}) and the same ${kept.join(', ')}`,
  );
}

/** Warn of settings that the table of chains has no default for and the operator has not set. */
function warnOfChain({ chainId, traits }: Chain, config: Config, log: Logger): void {
  if (config.chainKind === undefined && chainKindOf(chainId) === undefined) {
    log.warn({ chainId }, 'unknown chain, treated as Ethereum, set DEFAAS_CHAIN_KIND');
  }
  if (!traits.isGasFree && config.nativePriceUnits === 0n) {
    log.warn(
      'lanes are settled by time, without regard to gas costs, set DEFAAS_CHAIN_NATIVE_PRICE_UNITS',
    );
  }
}

/**
 * Open the configured chain and catch up. `beside` is the chain of the first set, when this is the
 * second.
 * @throws DefaasError CONFIG_INVALID; ChainError CHAIN_UNREACHABLE
 */
export async function openChainOf(config: Config, beside?: Chain): Promise<Chain> {
  const contracts = readContracts(config.contractsFile);
  if (beside) refuseStrangers(contracts, beside.contracts);
  const chain = await createChain({
    rpcUrls: config.chainRpcUrls,
    contracts,
    ...(config.chainKind && { kind: config.chainKind }),
    finality: config.chainConfirmations ?? 'by-chain',
    staleMs: config.chainStaleMs,
    ...(beside && { beside }),
  });
  await chain.start();
  return chain;
}

/**
 * Open the ledger of the set and the ledger of the house.
 * @throws DefaasError LEDGER_FAILED  it cannot be opened, or is an older copy
 */
async function openLedgers(
  { config, beside }: GatewayOptions,
  chain: Chain,
  address: Address,
  day: string,
) {
  const house = houseFolder(config);
  const folder = ledgerFolder(config, chain.contracts.billing);
  const mine: Ledger[] = [];
  const close = async (): Promise<void> => {
    for (const one of mine) await one.close();
  };
  const open = async (where: string): Promise<Ledger> => {
    const ledger = await openSqliteLedger(`${where}/ledger.sqlite`);
    mine.push(ledger);
    return ledger;
  };
  try {
    const houseLedger = beside?.houseLedger ?? (await open(house));
    const houseState = await houseLedger.load(day);
    const ledger = folder === house ? houseLedger : await open(folder);
    const state = folder === house ? houseState : await ledger.load(day);
    refuseLost(state.lastGroup, chain, address);
    refuseOld(state.lanes, chain, address);
    return { folder, ledger, state, houseLedger, houseState, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * Refuse a fresh ledger when the gateway has already settled: receipts that were handed out and not
 * settled are lost, and their numbers would be used again.
 * @throws DefaasError LEDGER_FAILED
 */
function refuseLost(lastGroup: number, { view }: Chain, gateway: Address): void {
  const batches = view.gateway(gateway)?.batches ?? 0;
  if (lastGroup > 0 || batches === 0) return;
  throw new DefaasError(
    'LEDGER_FAILED',
    `the ledger is empty, the chain has ${batches} batches of this gateway: it is lost, restore the newest copy`,
  );
}

/**
 * Refuse a ledger restored from an older copy: it would sign different receipts under numbers that
 * are already used (docs/contracts.md 14).
 * @throws DefaasError LEDGER_FAILED
 */
function refuseOld(lanes: readonly LaneTotals[], { view }: Chain, gateway: Address): void {
  for (const { payer, signer, seq } of lanes) {
    const settled = view.lane(payer, gateway, signer)?.seq ?? 0;
    if (settled <= seq) continue;
    throw new DefaasError(
      'LEDGER_FAILED',
      `the ledger has ${seq} receipts of lane ${payer}:${signer}, the chain has settled ${settled}: it is an older copy, restore the newest`,
    );
  }
}

const CONTRACTS = {
  what: 'the addresses of the contracts',
  isWhole: (value: unknown) =>
    hasTexts(value, ['registry', 'identity', 'billing', 'disputes', 'beacon', 'token']),
  remedy: 'set DEFAAS_CHAIN_CONTRACTS_FILE to the file that the deployment wrote',
};

function readContracts(file: string): ContractAddresses {
  const known = readState<ContractAddresses>(file, CONTRACTS);
  if (known !== undefined) return known;
  throw new DefaasError(
    'CONFIG_INVALID',
    `no file ${file}, set DEFAAS_CHAIN_CONTRACTS_FILE to the file that the deployment wrote`,
  );
}
