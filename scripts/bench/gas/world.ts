// A deployed world in which gas is measured: five contracts from the committed bytecode, a bonded gateway, a paying payer, and
// batches with fraud in them. Its clock is its own, so that the same contracts give the same figures to the unit.
// Hashes come from ethers, so neither the contracts' libraries nor their twins check themselves.
import {
  AbiCoder,
  type BaseContract,
  Contract,
  ContractFactory,
  getCreateAddress,
  type HDNodeWallet,
  hexlify,
  type InterfaceAbi,
  keccak256,
  type Signer,
  TypedDataEncoder,
  Wallet,
  zeroPadValue,
} from 'ethers';
import hre from 'hardhat';
import { artifacts } from '../../../contracts/artifacts.gen.ts';

type Fields = Record<string, unknown>;
export type Proof = { readonly name: string; readonly args: unknown[] };
export interface Frauds {
  readonly proofs: readonly Proof[];
  readonly place: Fields;
  /** The arguments that answer a demand for receipt i. */
  open(i: number): Promise<unknown[]>;
}

const DAY_SEC = 24 * 3600;
const ROLE_BOTH = 3;
/** Time of the first block; every transaction is a second later than the one before. */
const START = '2026-01-01T00:00:00Z';

const word = (value: number) => zeroPadValue(hexlify(Uint8Array.of(value)), 32);

/** A version as `publish` takes it, with the tariff of the template. */
export const TERMS = {
  manifest: word(1),
  artifact: word(2),
  manifestCodec: 0x55,
  artifactCodec: 0x70,
  tariff: {
    perCall: 20,
    perGiBSecond: 40,
    maxPrice: 100_000,
    minBilledMs: 0,
    roundMs: 1,
    publisherBps: 0,
  },
  accessMode: 0,
  memoryMiB: 128,
  timeoutMs: 10_000,
  idempotent: false,
  deterministic: false,
} as const;

const TYPES = {
  Voucher: [
    ['address', 'payer'],
    ['address', 'gateway'],
    ['address', 'signer'],
    ['uint128', 'ceiling'],
  ],
  Call: [
    ['address', 'payer'],
    ['address', 'gateway'],
    ['address', 'signer'],
    ['bytes32', 'nonce'],
    ['bytes32', 'functionVersion'],
    ['bytes32', 'input'],
    ['uint128', 'maxPrice'],
    ['uint40', 'deadline'],
    ['uint64', 'beacon'],
    ['bytes32', 'authority'],
  ],
  Execution: [
    ['uint64', 'deployment'],
    ['bytes32', 'request'],
    ['uint32', 'billedMs'],
    ['uint32', 'initMs'],
    ['uint32', 'memoryMiB'],
    ['uint16', 'status'],
    ['bytes32', 'input'],
    ['bytes32', 'output'],
    ['uint40', 'finishedAt'],
  ],
  Receipt: [
    ['address', 'payer'],
    ['address', 'gateway'],
    ['address', 'signer'],
    ['uint40', 'seq'],
    ['bytes32', 'call'],
    ['bytes32', 'execution'],
    ['address', 'provider'],
    ['uint8', 'attempt'],
    ['uint64', 'atBlock'],
    ['uint128', 'price'],
    ['uint128', 'cumulative'],
  ],
  ReceiptGroup: [
    ['address', 'gateway'],
    ['bytes32', 'root'],
    ['uint32', 'count'],
  ],
  Allot: [
    ['address', 'payer'],
    ['address', 'gateway'],
    ['uint128', 'amount'],
    ['uint256', 'nonce'],
    ['uint40', 'deadline'],
  ],
  OpenLane: [
    ['address', 'payer'],
    ['address', 'gateway'],
    ['address', 'signer'],
    ['uint128', 'cap'],
    ['uint32', 'expiry'],
    ['uint8', 'mode'],
    ['uint256', 'nonce'],
    ['uint40', 'deadline'],
  ],
  OperatorKey: [
    ['address', 'party'],
    ['address', 'key'],
    ['uint8', 'role'],
    ['uint40', 'deadline'],
  ],
} as const;

/** ethers' form of one of our EIP-712 types. */
export function typed(name: keyof typeof TYPES) {
  return { [name]: TYPES[name].map(([type, field]) => ({ type, name: field })) };
}

export function hashStruct(name: keyof typeof TYPES, value: Fields): string {
  return TypedDataEncoder.hashStruct(name, typed(name), value);
}

/** Levels of the ordered Merkle tree of docs/contracts.md 5.1, leaves first. */
export function levelsOf(leaves: readonly string[]): string[][] {
  const levels = [[...leaves]];
  for (let level = levels[0] ?? []; level.length > 1; ) {
    const parents: string[] = [];
    for (let i = 0; i < level.length; i += 2) {
      const [left, right] = [level[i] ?? '', level[i + 1]];
      parents.push(right === undefined ? left : keccak256(`${left}${right.slice(2)}`));
    }
    levels.push(parents);
    level = parents;
  }
  return levels;
}

export function pathOf(levels: readonly string[][], index: number): string[] {
  return levels.slice(0, -1).flatMap((level, height) => {
    const sibling = level[(index >> height) ^ 1];
    return sibling === undefined ? [] : [sibling];
  });
}

function rootOf(levels: readonly string[][]): string {
  return levels.at(-1)?.[0] ?? '';
}

/** Id of a function by docs/contracts.md 8.1. */
export function functionIdOf(namespace: string, name: string): bigint {
  return BigInt(
    keccak256(AbiCoder.defaultAbiCoder().encode(['address', 'string'], [namespace, name])),
  );
}

export type World = Awaited<ReturnType<typeof createWorld>>;

/** Deploys everything, bonds the gateway, and gives the payer tokens, a deposit and a line. */
export async function createWorld() {
  const connection = await hre.network.create({ override: { initialDate: START } });
  const { ethers } = connection;
  const provider = ethers.provider;
  const [deployer, gateway, settler, payer, reporter, friend] = await ethers.getSigners();
  if (!deployer || !gateway || !settler || !payer || !reporter || !friend)
    throw new Error('accounts');
  const units = (tokens: number) => BigInt(tokens) * 10n ** 6n;
  let keys = 0;
  let nowSec = Date.parse(START) / 1000;
  const request = (method: string, ...params: unknown[]) =>
    connection.provider.request({ method, params });
  const tick = () => request('evm_setNextBlockTimestamp', ++nowSec);
  const newKey = () =>
    new Wallet(
      keccak256(AbiCoder.defaultAbiCoder().encode(['string', 'uint256'], ['test key', ++keys])),
    );

  const deploy = async (name: keyof typeof artifacts, ...args: unknown[]) => {
    const { abi, bytecode } = artifacts[name];
    await tick();
    const contract = await new ContractFactory(
      abi as unknown as InterfaceAbi,
      bytecode,
      deployer,
    ).deploy(...args);
    await contract.waitForDeployment();
    return contract;
  };
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

  const { chainId } = await provider.getNetwork();
  const domain = {
    name: 'DeFaaS Billing',
    version: '1',
    chainId,
    verifyingContract: atBilling ?? '',
  };
  const identityDomain = {
    name: 'DeFaaS Identity',
    version: '1',
    chainId,
    verifyingContract: atIdentity ?? '',
  };
  const as = (contract: BaseContract, signer: Signer) => contract.connect(signer) as BaseContract;
  /** The only way by which the tests and the benchmark send, for the clock's sake. */
  const send = async (contract: BaseContract, method: string, ...args: unknown[]) => {
    await tick();
    const tx = await contract.getFunction(method).send(...args);
    const receipt = await tx.wait();
    if (!receipt) throw new Error(method);
    return receipt;
  };

  for (const owner of [gateway, payer]) {
    await send(usdc, 'mint', owner.address, units(1_000_000));
    await send(as(usdc, owner), 'approve', atBilling, units(1_000_000));
  }
  const expirySec = nowSec + 300 * DAY_SEC;
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

  async function openLane(owner: typeof payer & Signer, mode: 1 | 2) {
    const signer = newKey();
    await send(
      as(billing, owner),
      'openLane',
      gateway?.address,
      signer.address,
      units(100_000),
      expirySec,
      mode,
    );
    return signer as unknown as HDNodeWallet;
  }

  /** A payer without gas who is its own session key: one relayed transaction deposits, allots and opens the lane. */
  async function openOwnLane() {
    const owner = newKey();
    const to = { payer: owner.address, gateway: gateway?.address };
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
    await send(as(billing, payer as Signer), 'multicall', [
      encode('deposit', owner.address, units(10)),
      encode('allotBySig', ...Object.values(allot), allotSignature),
      encode('openLaneBySig', ...Object.values(lane), laneSignature),
    ]);
    return owner;
  }

  async function claim(
    owner: { address: string },
    signer: Pick<Wallet, 'address' | 'signTypedData'>,
    amount: bigint,
    seq: number,
    receipts = word(7),
  ) {
    const voucher = {
      payer: owner.address,
      gateway: gateway?.address,
      signer: signer.address,
      ceiling: amount,
    };
    const signature = await signer.signTypedData(domain, typed('Voucher'), voucher);
    const lane = await billing
      .getFunction('laneOf')
      .staticCall(owner.address, gateway?.address, signer.address);
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

  /** A receipt handed out: alone in its group, signed by the operator key. */
  async function sign(receipt: Fields) {
    const root = hashStruct('Receipt', receipt);
    const group = { gateway: gateway?.address, root, count: 1 };
    const signature = await operatorKey.signTypedData(domain, typed('ReceiptGroup'), group);
    return { receipt, index: 0, count: 1, path: [], signature };
  }

  /**
   * Settles one batch of `laneCount` lanes whose first, a signed one, has `receiptCount` receipts with one fraud of each kind, and gives
   * the evidence of each, and what answers a demand. The lane before the batch is empty.
   */
  async function settleFrauds(receiptCount: number, laneCount: number): Promise<Frauds> {
    const owner = as(registry, gateway as Signer);
    await send(owner, 'register', 'hello');
    const functionId = functionIdOf(gateway?.address ?? '', 'hello');
    await send(owner, 'publish', functionId, TERMS, true);
    const functionVersion = await registry
      .getFunction('functionVersionOf')
      .staticCall(functionId, 1);
    const ids = Array.from({ length: 32 }, (_, i) => i + 1);
    for (const _ of ids) await send(owner, 'enrol', functionVersion, 'aws-lambda', 'us-east-1');
    await send(owner, 'setCandidates', functionVersion, ids);
    for (let i = 0; i < 3; i++) await request('evm_mine', ++nowSec);
    const epoch = (await provider.getBlockNumber()) - 1;
    await send(beacon, 'checkpoint', epoch);
    const epochTimeSec = nowSec;

    const signer = await openLane(payer as never, 2);
    const calls: Fields[] = [];
    const executions: Fields[] = [];
    const receipts: Fields[] = [];
    let cumulative = 0n;
    for (let i = 0; i < receiptCount; i++) {
      const call = {
        payer: payer?.address,
        gateway: gateway?.address,
        signer: signer.address,
        // Receipts 20 and 21 charge one Call twice.
        nonce: word(i === 21 ? 20 : i),
        functionVersion,
        input: word(3),
        // Receipt 40 is charged above what its Call allows.
        maxPrice: i === 40 ? 10n : 1_000_000n,
        deadline: expirySec,
        beacon: epoch,
        authority: word(0),
      };
      const execution = {
        deployment: 1,
        request: word(4),
        billedMs: 1,
        initMs: 0,
        memoryMiB: 64,
        status: 200,
        input: word(3),
        output: word(5),
        finishedAt: epochTimeSec,
      };
      // Receipt 60 is charged above the tariff.
      const price = i === 60 ? 1_000n : 21n;
      cumulative += price;
      calls.push(call);
      executions.push(execution);
      receipts.push({
        payer: payer?.address,
        gateway: gateway?.address,
        signer: signer.address,
        seq: i + 1,
        call: hashStruct('Call', call),
        execution: hashStruct('Execution', execution),
        provider: gateway?.address,
        // All stand at place 9 of 32, which most draws contradict.
        attempt: 9,
        atBlock: epoch,
        price,
        // From receipt 80 on everything is 5 too much, and the last is 7 below what was taken.
        cumulative: i >= 80 ? cumulative + 5n : cumulative,
      });
    }
    const levels = levelsOf(receipts.map((receipt) => hashStruct('Receipt', receipt)));
    const settledTo = cumulative + 12n;
    await send(as(billing, payer as Signer), 'allot', gateway?.address, units(100));
    const others = [];
    for (let i = 1; i < laneCount; i++) others.push(await openLane(payer as never, 1));
    const claims = [await claim(payer as never, signer, settledTo, receiptCount, rootOf(levels))];
    for (const other of others) claims.push(await claim(payer as never, other, 100n, 1_000));
    const total = claims.reduce((sum, row) => sum + row.amount, 0n);
    await send(
      as(billing, settler as Signer),
      'settle',
      gateway?.address,
      claims,
      [[friend?.address, total]],
      word(1),
    );
    const settledAt = nowSec;
    const batch =
      Number((await billing.getFunction('standing').staticCall(gateway?.address))[3]) - 1;
    const batchLevels = levelsOf(
      claims.map((row) =>
        keccak256(
          AbiCoder.defaultAbiCoder().encode(
            ['address', 'address', 'uint256', 'uint256', 'uint256', 'uint256', 'bytes32'],
            [row.payer, row.signer, 0, row.amount, 0, row.seq, row.receipts],
          ),
        ),
      ),
    );
    const place = {
      gateway: gateway?.address,
      batch,
      settledAt,
      claims: claims.length,
      claim: 0,
      outside: word(0),
      path: pathOf(batchLevels, 0),
      payer: payer?.address,
      signer: signer.address,
      settledFrom: 0,
      settledTo,
      seqFrom: 0,
      seqTo: receiptCount,
      receipts: rootOf(levels),
    };
    const leaf = (i: number) => ({ receipt: receipts[i] ?? {}, index: i, path: pathOf(levels, i) });
    const other = (i: number) => ({ ...leaf(i).receipt, price: 20n });
    // One draw in 32 puts the deployment at its place; which one does depends on the hash of a block.
    const misroute = async () => {
      for (let i = 300; ; i++) {
        const args = [place, leaf(i), calls[i], executions[i], 1, ids];
        const [isFraud] = await disputes.getFunction('checkMisroute').staticCall(...args);
        if (isFraud) return args;
      }
    };
    const proofs = [
      {
        name: 'Omission',
        args: [
          await sign(other(200)),
          place,
          levels[0]?.[200],
          pathOf(levels, 200),
          [leaf(200).receipt],
        ],
      },
      { name: 'Break', args: [place, leaf(79), leaf(80)] },
      { name: 'Edge', args: [place, leaf(receiptCount - 1)] },
      { name: 'Overcharge', args: [place, leaf(60), calls[60], executions[60]] },
      { name: 'OverLimit', args: [place, leaf(40), calls[40], executions[40]] },
      { name: 'Duplicate', args: [place, leaf(20), place, leaf(21)] },
      { name: 'Misroute', args: await misroute() },
    ];
    const open = async (i: number) => {
      const signature = await signer.signTypedData(domain, typed('Call'), calls[i] ?? {});
      return [place, leaf(i), calls[i], executions[i], signature];
    };
    return { proofs, place, open };
  }

  return {
    provider,
    contracts: { registry, identity, billing, disputes, beacon },
    usdc,
    billing,
    gateway,
    settler,
    payer,
    reporter,
    domain,
    expirySec,
    units,
    word,
    newKey,
    as,
    send,
    openLane,
    openOwnLane,
    claim,
    settling: as(billing, settler),
    /** The views of Disputes as something a transaction can be sent to. */
    checking: new Contract(
      atDisputes as string,
      artifacts.Disputes.abi.map((entry) => ({
        ...entry,
        stateMutability: 'nonpayable',
      })) as unknown as InterfaceAbi,
      reporter,
    ) as BaseContract,
    /** Disputes as seen by a fresh reporter each time, so that every credit is a first one. */
    async disputing() {
      const fresh = newKey().connect(provider);
      await tick();
      await (
        await (deployer as Signer).sendTransaction({ to: fresh.address, value: 10n ** 18n })
      ).wait();
      return as(disputes, fresh);
    },
    /** The next transaction is so much later. */
    skip(seconds: number) {
      nowSec += seconds;
    },
    settleFrauds,
    close: () => connection.close(),
  };
}
