// Contracts that resemble this release's but differ: each replaces the honest one on a real chain.
import assert from 'node:assert/strict';
import { JsonRpcProvider } from 'ethers';
import { artifacts } from '../../contracts/artifacts.gen.ts';
import { RpcProvider } from '../../contracts/chain/rpc.ts';
import { checkSet, type SetTerms } from '../../contracts/deployed-code.ts';
import { type ContractSet, deploymentsOf } from '../../contracts/deployments.ts';
import type { Address } from '../../contracts/libraries/keccak.ts';
import { type HardhatChain, startHardhatChain } from './hardhat-chain.ts';

const DAY_SEC = 86_400;
const NAMES = {
  registry: 'FunctionRegistry',
  identity: 'Identity',
  billing: 'Billing',
  disputes: 'Disputes',
  beacon: 'Beacon',
} as const;
/**
 * Immutables that a deployer may choose: they change neither where money goes nor what a signature
 * is for.
 */
const CHOICES: Readonly<Record<string, readonly string[]>> = {
  identity: ['KEY_OVERLAP', 'KEY_EVIDENCE'],
  billing: [
    'GUARDIAN',
    'MIN_BOND',
    'LINE_THAW',
    'FEE_DELAY',
    'UNBOND',
    'PROOF_WINDOW',
    'MAX_PLEDGE',
  ],
  disputes: [
    'DEMAND_PLEDGE',
    'DEMAND_WINDOW',
    'ANSWER_WINDOW',
    'PROOF_WINDOW',
    '_GRAVE',
    '_CHARGE',
    '_MISROUTE',
    '_SILENCE',
  ],
  beacon: ['K'],
};

describe('the code of a deployed set', function () {
  this.timeout(60_000);
  let chain: HardhatChain;
  let provider: JsonRpcProvider;
  let set: ContractSet;
  before(async () => {
    chain = await startHardhatChain();
    provider = new JsonRpcProvider(chain.url, 31337, { staticNetwork: true, cacheTimeout: -1 });
    const [only] = deploymentsOf(31337, chain.contracts).sets;
    assert.ok(only);
    set = only;
  });
  after(async () => {
    provider?.destroy();
    await chain?.close();
  });

  const check = (of: ContractSet = set, chainId = 31337) => checkSet(provider, chainId, of);
  const refused = { code: 'DEPLOYMENT_CODE' };
  const at = (contract: string): Address => set.contracts[contract as keyof typeof NAMES];
  /** Other code at the address while `look` looks. */
  const withCode = async <T>(
    address: Address,
    code: string,
    look: () => Promise<T>,
  ): Promise<T> => {
    const before = await provider.getCode(address);
    await chain.rpc('hardhat_setCode', [address, code]);
    try {
      return await look();
    } finally {
      await chain.rpc('hardhat_setCode', [address, before]);
    }
  };
  const codeOf = async (contract: string): Promise<Buffer> =>
    Buffer.from((await provider.getCode(at(contract))).slice(2), 'hex');
  /** A contract of which the lowest bit of the word at each of these places is turned. */
  const withBits = async (
    contract: string,
    places: readonly number[],
    look: () => Promise<void>,
  ) => {
    const code = await codeOf(contract);
    for (const place of places) code[place + 31] = (code[place + 31] ?? 0) ^ 1;
    await withCode(at(contract), `0x${code.toString('hex')}`, look);
  };
  const immutables = Object.entries(NAMES).flatMap(([contract, name]) =>
    Object.entries<readonly number[]>(artifacts[name].runtime.immutables).map(
      ([word, places]) => [contract, word, places] as const,
    ),
  );

  it('is that of this release, and reveals the terms of the set', async () => {
    const terms = await check();

    assert.deepEqual(terms, {
      token: chain.contracts.token,
      guardian: undefined,
      minBondUnits: 1_000_000_000n,
      pledgeUnits: 1_000_000n,
      lineThawSec: DAY_SEC,
      unbondSec: 14 * DAY_SEC,
      demandWindowSec: 7 * DAY_SEC,
      answerWindowSec: 2 * DAY_SEC,
      proofWindowSec: 12 * DAY_SEC,
    } satisfies SetTerms);
  });

  it('is refused when an address of the set has no code, or that of another contract', async () => {
    const nobody: Address = `0x${'42'.repeat(20)}`;
    for (const contract of Object.keys(NAMES)) {
      const others = Object.values(set.contracts).filter((address) => address !== at(contract));
      for (const other of [nobody, set.token, ...others]) {
        await assert.rejects(
          check({ ...set, contracts: { ...set.contracts, [contract]: other } }),
          refused,
        );
      }
    }
    await assert.rejects(check({ ...set, token: nobody }), refused);
  });

  it('is refused when any byte outside its immutables differs', async () => {
    for (const contract of Object.keys(NAMES)) {
      const code = await codeOf(contract);
      const { immutables } = artifacts[NAMES[contract as keyof typeof NAMES]].runtime;
      const isMasked = (at: number) =>
        Object.values<readonly number[]>(immutables).some((places) =>
          places.some((place) => at >= place && at < place + 32),
        );
      // A few all over the code, and the last byte, which is the compiler's metadata.
      const some = [...code.keys()].filter((place) => place % 2_000 === 0);
      for (const place of [...some, code.length - 1].filter((one) => !isMasked(one))) {
        const other = Buffer.from(code);
        other[place] = (other[place] ?? 0) ^ 1;
        await withCode(at(contract), `0x${other.toString('hex')}`, () =>
          assert.rejects(check(), refused),
        );
      }
      await withCode(at(contract), `0x${code.toString('hex')}00`, () =>
        assert.rejects(check(), refused),
      );
    }
  });

  it('is refused when an immutable differs that directs money or binds signatures, and only then', async () => {
    for (const [contract, word, places] of immutables) {
      // Both sides of a pair that `wired()` compares would have to change.
      const isChoice = CHOICES[contract]?.includes(word) && word !== 'PROOF_WINDOW';
      await withBits(contract, places, async () => {
        if (isChoice) await check();
        else await assert.rejects(check(), refused, `${contract}.${word}`);
      });
    }
  });

  it('is refused when an immutable has two values in one code', async () => {
    for (const [contract, , places] of immutables.filter(([, , places]) => places.length > 1)) {
      await withBits(contract, places.slice(0, 1), () => assert.rejects(check(), refused));
    }
  });

  it('is refused for a set that names another token, and for another chain', async () => {
    await assert.rejects(check({ ...set, token: set.contracts.beacon }), refused);
    await assert.rejects(check(set, 1), refused);
  });

  it('is not judged when the RPC does not answer', async () => {
    const dead = new RpcProvider(31337, { urls: ['http://127.0.0.1:1'], timeoutMs: 1_000 });
    try {
      await assert.rejects(checkSet(dead, 31337, set), { code: 'CHAIN_UNREACHABLE' });
    } finally {
      dead.destroy();
    }
  });
});
