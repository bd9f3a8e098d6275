import assert from 'node:assert/strict';
import { AbiCoder, concat, keccak256 } from 'ethers';
import fc from 'fast-check';
import type { Hex } from '../../../contracts/libraries/keccak.ts';
import {
  createPaths,
  createTree,
  pathOf,
  rootOf,
  verifyPath,
} from '../../../contracts/libraries/ordered-merkle.ts';
import { readVectors } from '../../vectors/read-vectors.ts';

interface Vectors {
  trees: { count: number; root: Hex; paths: { index: number; path: Hex[] }[] }[];
}

describe('the ordered Merkle tree', () => {
  it('gives the roots and paths of the vectors', () => {
    for (const { count, root, paths } of readVectors<Vectors>('ordered-merkle.json').trees) {
      const leaves = leavesOf(count);

      assert.equal(rootOf(leaves), root);
      for (const { index, path } of paths) assert.deepEqual(pathOf(leaves, index), path);
    }
  });

  it('verifies every leaf of trees of 1 to 70 leaves at its own place only', () => {
    for (let count = 1; count <= 70; count += 1) {
      const leaves = leavesOf(count);
      const tree = createTree(leaves);
      leaves.forEach((leaf, index) => {
        const path = tree.path(index);
        assert.ok(path.length <= Math.ceil(Math.log2(count)));
        assert.ok(verifyPath(leaf, index, count, path, tree.root));
        assert.ok(!verifyPath(leaf, index + 1, count, path, tree.root));
        assert.ok(!verifyPath(leaf, index, index, path, tree.root));
        assert.ok(!verifyPath(leaf, index, count, [...path, leaf], tree.root));
        assert.ok(!verifyPath(leaf, index, count, path.slice(1), tree.root) || path.length === 0);
      });
    }
  });

  it('updates the paths of followed leaves while it grows, and drops those of forgotten leaves', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), fc.func(fc.boolean()), (count, isKept) => {
        const leaves = leavesOf(count);
        const growing = createPaths();

        leaves.forEach((leaf, index) => {
          growing.add(leaf);
          if (!isKept(index)) growing.forget(index);
        });

        const tree = createTree(leaves);
        assert.equal(growing.root(), tree.root);
        assert.equal(growing.count, count);
        leaves.forEach((_, index) => {
          assert.deepEqual(growing.path(index), isKept(index) ? tree.path(index) : undefined);
        });
        assert.equal(growing.path(count), undefined);
      }),
      { numRuns: 50 },
    );
    assert.throws(() => createPaths().root(), RangeError);
  });

  it('is built by its definition, for any number of leaves', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3000 }), fc.nat(), (count, pick) => {
        const leaves = leavesOf(count);
        const index = pick % count;
        const leaf = leaves[index];
        assert.ok(leaf);

        const tree = createTree(leaves);

        assert.equal(rootOf(leaves), tree.root);
        assert.ok(verifyPath(leaf, index, count, tree.path(index), tree.root));
        const other = (index + 1 + (pick % Math.max(1, count - 1))) % count;
        if (other !== index)
          assert.ok(!verifyPath(leaf, other, count, tree.path(index), tree.root));
      }),
      { numRuns: 20 },
    );
    const leaves = leavesOf(777);
    assert.equal(rootOf(leaves), naiveRoot(leaves));
  });

  it('refuses to be built without leaves, and refuses an index outside the tree', () => {
    assert.throws(() => createTree([]), RangeError);
    assert.throws(() => rootOf([]), RangeError);
    assert.throws(() => pathOf(leavesOf(3), 3), RangeError);
    assert.throws(() => pathOf(leavesOf(3), -1), RangeError);
  });
});

const cache: Hex[] = [];
function leavesOf(count: number): Hex[] {
  while (cache.length < count) {
    const encoded = AbiCoder.defaultAbiCoder().encode(['uint256'], [cache.length]);
    cache.push(keccak256(encoded) as Hex); // ethers types hex as string
  }
  return cache.slice(0, count);
}

function naiveRoot(leaves: readonly string[]): string {
  const [first, ...rest] = leaves;
  if (first !== undefined && rest.length === 0) return first;
  const above: string[] = [];
  for (let i = 0; i < leaves.length; i += 2) above.push(pairOf(leaves[i] ?? '', leaves[i + 1]));
  return naiveRoot(above);
}

function pairOf(left: string, right: string | undefined): string {
  return right === undefined ? left : keccak256(concat([left, right]));
}
