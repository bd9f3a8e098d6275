import assert from 'node:assert/strict';
import type { BaseContract, ContractMethod } from 'ethers';
import fc from 'fast-check';
import hre from 'hardhat';
import { createKey } from '../../../contracts/keystore.ts';
import { drawOrder, drawSeed } from '../../../contracts/libraries/draw.ts';
import { type Hex, keccak256Hex } from '../../../contracts/libraries/keccak.ts';
import { functionIdOf, functionVersionOf } from '../../../contracts/libraries/names.ts';
import { createTree, rootOf, verifyPath } from '../../../contracts/libraries/ordered-merkle.ts';
import {
  batchWord,
  hashCall,
  hashClaim,
  hashExecution,
  hashReceipt,
} from '../../../contracts/libraries/receipts.ts';
import { priceOf } from '../../../contracts/libraries/tariffs.ts';
import {
  billingDomain,
  hashDomain,
  hashPayout,
  hashReceiptGroup,
  hashToSign,
  hashVoucher,
} from '../../../contracts/libraries/typed-data.ts';
import { recoverAddress, signDigest } from '../../../contracts/signatures.ts';
import * as any from './arbitraries.ts';

/** Each run is a few calls of an EVM in this process. */
const RUNS = { numRuns: 40 };

describe('the twins in TypeScript and Solidity', () => {
  let connection: Awaited<ReturnType<typeof hre.network.create>>;
  let probe: BaseContract;
  const ask = async (method: string, ...args: unknown[]): Promise<unknown> => {
    const call: ContractMethod = probe.getFunction(method);
    return call.staticCall(...args);
  };

  before(async () => {
    connection = await hre.network.create();
    probe = await connection.ethers.deployContract('LibraryProbe');
  });
  after(() => connection?.close());

  it('hash the same receipts, calls and executions', async () => {
    await fc.assert(
      fc.asyncProperty(any.receipt, any.call, any.execution, async (receipt, call, execution) => {
        const { deadlineSec, ...ofCall } = call;
        const { finishedAtSec, ...ofExecution } = execution;
        assert.equal(hashReceipt(receipt), await ask('hashReceipt', receipt));
        assert.equal(hashCall(call), await ask('hashCall', { ...ofCall, deadline: deadlineSec }));
        assert.equal(
          hashExecution(execution),
          await ask('hashExecution', { ...ofExecution, finishedAt: finishedAtSec }),
        );
      }),
      RUNS,
    );
  });

  it('hash the same claims and batch words', async () => {
    const claims = fc.record({
      payer: any.address,
      signer: any.address,
      settledFrom: any.uint(88),
      settledTo: any.uint(88),
      seqFrom: any.number(40),
      seqTo: any.number(40),
      receipts: any.bytes32,
    });
    await fc.assert(
      fc.asyncProperty(claims, any.number(9), any.number(40), async (claim, count, timeSec) => {
        assert.equal(hashClaim(claim), await ask('hashClaim', ...Object.values(claim)));
        const { receipts: root } = claim;
        const word = [root, claim.receipts, count, timeSec] as const;
        assert.equal(batchWord(...word), await ask('batchWord', ...word));
      }),
      RUNS,
    );
  });

  it('sign the same vouchers, groups and payouts', async () => {
    await fc.assert(
      fc.asyncProperty(any.call, any.uint(128), any.number(32), async (call, amount, count) => {
        const { payer, gateway, signer, input: root } = call;
        const domain = billingDomain(31337, payer);
        assert.equal(hashDomain(domain), await ask('billingSeparator', payer));
        const signed = async (method: string, ...args: unknown[]): Promise<Hex> =>
          hashToSign(domain, (await ask(method, ...args)) as Hex);
        assert.equal(
          hashVoucher(domain, { payer, gateway, signer, ceiling: amount }),
          await signed('hashVoucher', payer, gateway, signer, amount),
        );
        assert.equal(
          hashReceiptGroup(domain, { gateway, root, count }),
          await signed('hashReceiptGroup', gateway, root, count),
        );
        assert.equal(
          hashPayout(domain, { gateway, payee: payer, cumulative: amount }),
          await signed('hashPayout', gateway, payer, amount),
        );
      }),
      RUNS,
    );
  });

  it('build the same trees of 1 to 70 leaves, and accept the same paths', async () => {
    for (let count = 1; count <= 70; count += 1) {
      const leaves = leavesOf(count, 0);
      const tree = createTree(leaves);
      const index = Math.floor((count * 2) / 3);
      const path = tree.path(index);
      assert.equal(tree.root, await ask('rootOf', leaves));
      assert.ok(await ask('verify', leaves[index], index, count, path, tree.root));
      if (path.length === 0) continue;
      assert.ok(!(await ask('verify', leaves[index], index, count, path.slice(1), tree.root)));
    }
  });

  it('judge paths alike, whatever their index, count and length', async () => {
    const small = fc.integer({ min: 1, max: 20 });
    await fc.assert(
      fc.asyncProperty(small, fc.nat(21), fc.nat(21), fc.nat(2), async (count, at, of, cut) => {
        const leaves = leavesOf(count, 1);
        const tree = createTree(leaves);
        const leaf = leaves[at % count] ?? assert.fail();
        const path = tree.path(at % count);
        const shown = cut === 0 ? path : cut === 1 ? path.slice(1) : [...path, leaf];
        const expected = await ask('verify', leaf, at, of, shown, tree.root);
        assert.equal(verifyPath(leaf, at, of, shown, tree.root), expected);
      }),
      { numRuns: 150 },
    );
  });

  it('build the same tree of 3 000 leaves', async () => {
    const leaves = leavesOf(3_000, 2);

    assert.equal(rootOf(leaves), await ask('rootOf', leaves));
  });

  it('price alike', async () => {
    const uint32 = any.number(32);
    const tariffs = fc.record({
      perCall: any.uint(64),
      perGiBSecond: any.uint(64),
      maxPrice: any.uint(64),
      minBilledMs: uint32,
      roundMs: fc.integer({ min: 1, max: 60_000 }),
      publisherBps: fc.integer({ min: 0, max: 10_000 }),
    });
    const terms = fc.record({ tariff: tariffs, memoryMiB: uint32, timeoutMs: uint32 });
    const usages = fc.record({
      billedMs: uint32,
      memoryMiB: uint32,
      status: fc.oneof(fc.constant(0), any.number(16)),
    });
    await fc.assert(
      fc.asyncProperty(terms, usages, async (priceTerms, usage) => {
        const { billedMs, memoryMiB, status } = usage;
        const expected = await ask('priceOf', priceTerms, billedMs, memoryMiB, status);
        assert.equal(priceOf(usage, priceTerms), expected);
      }),
      { numRuns: 150 },
    );
  });

  it('draw the same order from the same seed', async () => {
    const sets = fc.uniqueArray(any.number(53), { minLength: 1, maxLength: 32 });
    await fc.assert(
      fc.asyncProperty(any.bytesOf(24), any.call, sets, async (value, call, ids) => {
        const seed = drawSeed(value, call);
        assert.equal(seed, await ask('seedOf', value, call.payer, call.signer, call.nonce));
        const expected = (await ask('drawOrder', seed, ids, ids.length)) as bigint[];
        assert.deepEqual(drawOrder(seed, ids).map(BigInt), [...expected]);
      }),
      RUNS,
    );
  });

  it('name functions and versions alike', async () => {
    await fc.assert(
      fc.asyncProperty(any.address, fc.string(), any.number(32), async (at, name, number) => {
        const id = functionIdOf(at, name);
        assert.equal(id, await ask('functionIdOf', at, name));
        const expected = await ask('functionVersionOf', at, id, number);
        assert.equal(functionVersionOf(at, id, number), expected);
      }),
      RUNS,
    );
  });

  it('recover the same signer, and refuse the same malformed signatures', async () => {
    const key = createKey();
    const digest = keccak256Hex(new Uint8Array(32));
    const signature = signDigest(key.privateKey, digest);
    const nobody = `0x${'00'.repeat(20)}`;

    const s = BigInt(`0x${signature.slice(66, 130)}`);
    const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
    const highS = (order - s).toString(16).padStart(64, '0');
    const flipped = signature.endsWith('1b') ? '1c' : '1b';
    const malformed: Hex[] = [
      `0x${signature.slice(2, 66)}${highS}${flipped}`,
      `0x${signature.slice(2, 130)}00`,
      `0x${signature.slice(2, 130)}`,
      '0x',
      `0x${'00'.repeat(65)}`,
      `0x${'ff'.repeat(64)}1b`,
    ];
    assert.equal(recoverAddress(digest, signature), key.address);
    assert.equal(String(await ask('recover', digest, signature)).toLowerCase(), key.address);
    for (const one of malformed) {
      assert.equal(recoverAddress(digest, one), undefined, one);
      assert.equal(await ask('recover', digest, one), nobody, one);
    }
  });
});

function leavesOf(count: number, salt: number): Hex[] {
  return Array.from({ length: count }, (_, i) => keccak256Hex(Uint8Array.of(salt, i, i >> 8)));
}
