// The world in which gas is measured: the five contracts, a bonded gateway, and a payer with tokens
// and lanes.
import {
  type BaseContract,
  Contract,
  getCreateAddress,
  type HDNodeWallet,
  type InterfaceAbi,
  type Signer,
  type Wallet,
} from 'ethers';
import { artifacts } from '../../../contracts/artifacts.gen.ts';
import { type Network, openNetwork } from './network.ts';
import { type Fields, hashStruct, typed, word } from './typed.ts';

const DAY_SEC = 24 * 3600;
const ROLE_BOTH = 3;

export type World = Awaited<ReturnType<typeof createWorld>>;

/** Deploys everything, bonds the gateway, and gives the payer tokens and an allowance. */
export async function createWorld() {
  const network = await openNetwork();
  const { provider, newKey, tick, as } = network;
  const { deployer, settler, reporter } = network.accounts;
  const contracts = await deployContracts(network);
  const { usdc, registry, identity, billing, disputes, beacon } = contracts;
  const { chainId } = await provider.getNetwork();
  const domainOf = (name: string, contract: BaseContract) => ({
    name: `DeFaaS ${name}`,
    version: '1',
    chainId,
    verifyingContract: String(contract.target),
  });
  const domain = domainOf('Billing', billing);
  await fund(network, contracts);
  const expirySec = network.nowSec() + 300 * DAY_SEC;
  const operatorKey = await bondGateway(network, contracts, {
    identityDomain: domainOf('Identity', identity),
    expirySec,
  });
  const parts = { ...network, billing, domain, expirySec };
  return {
    ...network,
    ...network.accounts,
    contracts: { registry, identity, billing, disputes, beacon },
    usdc,
    billing,
    domain,
    expirySec,
    units,
    word,
    openLane: (owner: Signer, mode: 1 | 2) => openLane(parts, owner, mode),
    openOwnLane: () => openOwnLane(parts),
    claim: (
      owner: { address: string },
      signer: Pick<Wallet, 'address' | 'signTypedData'>,
      amount: bigint,
      seq: number,
      receipts = word(7),
    ) => claim(parts, { owner, signer, amount, seq, receipts }),
    /** A receipt handed out: alone in its group, signed by the operator key. */
    async sign(receipt: Fields) {
      const root = hashStruct('Receipt', receipt);
      const group = { gateway: network.accounts.gateway.address, root, count: 1 };
      const signature = await operatorKey.signTypedData(domain, typed('ReceiptGroup'), group);
      return { receipt, index: 0, count: 1, path: [], signature };
    },
    settling: as(billing, settler),
    /** The views of Disputes as something a transaction can be sent to. */
    checking: new Contract(
      disputes.target,
      artifacts.Disputes.abi.map((entry) => ({
        ...entry,
        stateMutability: 'nonpayable',
      })) as unknown as InterfaceAbi,
      reporter,
    ) as BaseContract,
    /** Disputes as seen by a new reporter each time, so that every credit is a first one. */
    async disputing() {
      const fresh = newKey().connect(provider);
      await tick();
      await (
        await (deployer as Signer).sendTransaction({ to: fresh.address, value: 10n ** 18n })
      ).wait();
      return as(disputes, fresh);
    },
  };
}

/** Tokens in base units. */
function units(tokens: number): bigint {
  return BigInt(tokens) * 10n ** 6n;
}

async function deployContracts({ accounts: { deployer }, deploy }: Network) {
  const usdc = await deploy('MockUSDC');
  const nonce = await deployer.getNonce();
  const [atBeacon, atRegistry, atIdentity, atBilling, atDisputes] = [0, 1, 2, 3, 4].map((i) =>
    getCreateAddress({ from: deployer.address, nonce: nonce + i }),
  );
  const beacon = await deploy('Beacon', 1);
  const registry = await deploy('FunctionRegistry', atBeacon, atIdentity);
  const identity = await deploy('Identity', atRegistry, DAY_SEC, 3 * DAY_SEC);
  const billing = await deploy(
    'Billing',
    await usdc.getAddress(),
    atIdentity,
    atDisputes,
    deployer.address,
    units(1_000),
    DAY_SEC,
    2 * DAY_SEC,
    14 * DAY_SEC,
    12 * DAY_SEC,
  );
  const disputes = await deploy('Disputes', atBilling, atIdentity, atRegistry, atBeacon, {
    grave: units(100),
    charge: units(10),
    misroute: units(1),
    silence: units(50),
    pledge: units(1),
    demandWindow: 7 * DAY_SEC,
    answerWindow: 2 * DAY_SEC,
    proofWindow: 12 * DAY_SEC,
  });
  await disputes.getFunction('wired').staticCall();
  return { usdc, beacon, registry, identity, billing, disputes };
}

type Contracts = Awaited<ReturnType<typeof deployContracts>>;

/** Gives gateway and payer tokens that Billing may take. */
async function fund({ accounts, send, as }: Network, { usdc, billing }: Contracts): Promise<void> {
  for (const owner of [accounts.gateway, accounts.payer]) {
    await send(usdc, 'mint', owner.address, units(1_000_000));
    await send(as(usdc, owner), 'approve', billing.target, units(1_000_000));
  }
}

/** Registers the gateway with an operator key, which it returns, a bond and a settler. */
async function bondGateway(
  { accounts, send, as, newKey }: Network,
  { identity, billing }: Contracts,
  options: {
    readonly identityDomain: Parameters<Wallet['signTypedData']>[0];
    readonly expirySec: number;
  },
): Promise<Wallet> {
  const { gateway, settler } = accounts;
  const { identityDomain, expirySec } = options;
  const operatorKey = newKey();
  await send(as(identity, gateway), 'registerParty', ROLE_BOTH, 'http://127.0.0.1', word(0));
  const keySignature = await operatorKey.signTypedData(identityDomain, typed('OperatorKey'), {
    party: gateway.address,
    key: operatorKey.address,
    role: 1,
    deadline: expirySec,
  });
  await send(as(identity, gateway), 'addKey', operatorKey.address, 1, expirySec, keySignature);
  await send(as(billing, gateway), 'bond', gateway.address, units(100_000));
  await send(as(billing, gateway), 'setSettler', settler.address);
  return operatorKey;
}

interface LaneParts extends Network {
  readonly billing: BaseContract;
  readonly domain: Parameters<Wallet['signTypedData']>[0];
  readonly expirySec: number;
}

async function openLane(parts: LaneParts, owner: Signer, mode: 1 | 2) {
  const { accounts, as, send, billing, expirySec } = parts;
  const signer = parts.newKey();
  const [gateway, cap] = [accounts.gateway.address, units(100_000)];
  await send(as(billing, owner), 'openLane', gateway, signer.address, cap, expirySec, mode);
  return signer as unknown as HDNodeWallet;
}

/**
 * A payer without gas that is its own session key: one relayed transaction deposits, allots and
 * opens the lane.
 */
async function openOwnLane(parts: LaneParts) {
  const { accounts, as, send, billing, domain, expirySec } = parts;
  const owner = parts.newKey();
  const to = { payer: owner.address, gateway: accounts.gateway.address };
  const allot = { ...to, amount: units(10), nonce: 1n << 64n, deadline: expirySec };
  const lane = {
    ...to,
    signer: owner.address,
    cap: units(10),
    expiry: expirySec,
    mode: 1,
    nonce: 2n << 64n,
    deadline: expirySec,
  };
  const [allotSignature, laneSignature] = [
    await owner.signTypedData(domain, typed('Allot'), allot),
    await owner.signTypedData(domain, typed('OpenLane'), lane),
  ];
  const encode = (method: string, ...args: unknown[]) =>
    billing.interface.encodeFunctionData(method, args);
  await send(as(billing, accounts.payer), 'multicall', [
    encode('deposit', owner.address, units(10)),
    encode('allotBySig', ...Object.values(allot), allotSignature),
    encode('openLaneBySig', ...Object.values(lane), laneSignature),
  ]);
  return owner;
}

/** A lane's claim as `settle` takes it, with the voucher's signature. */
async function claim(
  { accounts, billing, domain }: LaneParts,
  of: {
    readonly owner: { address: string };
    readonly signer: Pick<Wallet, 'address' | 'signTypedData'>;
    readonly amount: bigint;
    readonly seq: number;
    readonly receipts: string;
  },
) {
  const { owner, signer, amount, seq, receipts } = of;
  const gateway = accounts.gateway.address;
  const voucher = { payer: owner.address, gateway, signer: signer.address, ceiling: amount };
  const signature = await signer.signTypedData(domain, typed('Voucher'), voucher);
  const lane = await billing
    .getFunction('laneOf')
    .staticCall(owner.address, gateway, signer.address);
  return {
    payer: owner.address,
    signer: signer.address,
    amount,
    ceiling: amount,
    seqFrom: lane.seq,
    seq,
    receipts,
    signature,
  };
}
